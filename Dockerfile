# paperzoo on a CPU, with the versions of constraints.txt and without root.
#   docker build -t paperzoo .
#   docker run --rm -v paperzoo:/home/researcher/paperzoo/outputs paperzoo python train.py experiment=dann/moons
FROM python:3.11-slim

RUN useradd --create-home researcher && install -d -o researcher -g researcher /home/researcher/paperzoo
USER researcher
WORKDIR /home/researcher/paperzoo

# PyTorch's own index has builds without CUDA, a tenth as large: 2.14.1+cpu is preferred to 2.14.1, and is what it allows.
ENV PATH=/home/researcher/venv/bin:$PATH \
    PIP_CONSTRAINT=/home/researcher/paperzoo/constraints.txt \
    PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu \
    PIP_NO_CACHE_DIR=1

COPY --chown=researcher:researcher . .
RUN python -m venv /home/researcher/venv && pip install -e ".[dev]"

CMD ["python", "train.py"]
