// Whoever points at a chart is told the values there: in its legend, or of many curves that of the nearest one.
for (const figure of document.querySelectorAll("figure.chart")) {
  const outer = figure.querySelector("svg");
  const inner = outer?.querySelector("svg");
  if (!inner) continue;
  const pointer = inner.querySelector(".pointer");
  const told = figure.querySelector(".told");
  const isNearest = "nearest" in figure.dataset;
  const lines = [...inner.querySelectorAll("[data-values]")].map((line, index) => {
    const places = (line.getAttribute("points") ?? line.dataset.place).split(" ").map(place => place.split(",").map(Number));
    const values = line.dataset.values.split(";").map(pair => pair.split(" "));
    return {line, index, places, values, label: line.dataset.label, colour: line.classList[1]};
  });
  const texts = isNearest ? [] : [...figure.querySelectorAll(".legend b")];
  const last = texts.map(text => text.textContent);
  const title = outer.querySelector(":scope > text:last-of-type").textContent;

  const mark = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    pointer.append(element);
  };
  const leave = () => {
    pointer.replaceChildren();
    told.textContent = "";
    texts.forEach((text, index) => (text.textContent = last[index]));
    lines.forEach(({line}) => line.classList.remove("near"));
  };
  const point = event => {
    const {x, y} = new DOMPoint(event.clientX, event.clientY).matrixTransform(outer.getScreenCTM().inverse());
    leave();
    const found = lines.filter(({line}) => !line.classList.contains("off")).map(line => {
      const distances = line.places.map(place => Math.abs(place[0] - x));
      const at = distances.indexOf(Math.min(...distances));
      return {...line, place: line.places[at], value: line.values[at]};
    });
    if (!found.length) return;
    const distance = ({place}) => Math.hypot(place[0] - x, isNearest ? place[1] - y : 0);
    const nearest = found.reduce((a, b) => (distance(b) < distance(a) ? b : a));
    for (const {place, colour} of isNearest ? [nearest] : found)
      mark("circle", {class: `dot ${colour}`, cx: place[0], cy: place[1], r: 4});
    if (isNearest) {
      nearest.line.classList.add("near");
      told.textContent = `${nearest.label}: ${nearest.value[1]} at ${title} ${nearest.value[0]}`;
      return;
    }
    mark("path", {class: "grid", d: `M${nearest.place[0]} 0V1000`});
    told.textContent = `${title} ${nearest.value[0]}`;
    for (const {index, places, place, value} of found)
      if (places.length > 1 || Math.abs(place[0] - x) < 12) texts[index].textContent = value[1];
  };
  outer.addEventListener("pointermove", point);
  outer.addEventListener("pointerdown", point);
  outer.addEventListener("pointerleave", leave);
}
