// Rows are made of the embedded list, a screenful at a time; everything of a run is set as text, never as HTML.
const KEYS = ["folder", "paper", "preset", "state", "ended", "metric", "direction", "measured", "published", "report", "sweep", "thumbnail"];
const CHUNK = 60;
const runs = JSON.parse(document.querySelector("#data").textContent).map(values =>
  Object.fromEntries(KEYS.map((key, index) => [key, values[index]])));
for (const run of runs) run.words = [run.folder, run.paper, run.preset, run.state, run.ended, run.metric].join(" ").toLowerCase();

const body = document.querySelector("#runs tbody");
const end = document.querySelector("#end");
const filters = Object.fromEntries([...document.querySelectorAll("#filters [name]")].map(field => [field.name, field]));
let sortedBy = "ended", ascending = false, shown = [], drawn = 0;

const element = (name, className, text = "") => {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  return made;
};
const linked = (text, href) => {
  const made = element("a", "", text);
  made.href = href;
  return made;
};
const numbered = value => (value === null ? "" : Math.abs(value) >= 1000 ? value.toFixed(1) : String(+value.toPrecision(4)));

const picture = run => {
  const cell = element("td", "thumbnail");
  if (!run.thumbnail) return cell;
  const image = element("img");
  image.loading = "lazy";
  image.alt = "";
  image.src = run.thumbnail;
  const inside = run.report ? linked("", run.report) : cell;
  inside.append(image);
  if (inside !== cell) cell.append(inside);
  return cell;
};
const named = run => {
  const cell = element("td", "name");
  const name = [run.paper, run.preset].filter(Boolean).join("/") || run.folder;
  cell.append(run.report ? linked(name, run.report) : name, element("div", "dim", run.folder));
  if (run.sweep) cell.lastChild.append(" ", linked("its sweep", run.sweep));
  return cell;
};
const verdict = ({measured, published, direction}) => {
  if (measured === null || published === null || !direction) return "";
  return measured === published || measured < published === (direction === "min") ? "better" : "worse";
};
const row = run => {
  const made = element("tr");
  made.append(
    picture(run), named(run), element("td", run.state, run.state), element("td", "ended", run.ended),
    element("td", "metric", run.metric && run.metric + ({min: " ↓", max: " ↑"}[run.direction] ?? "")),
    element("td", `n ${verdict(run)}`, numbered(run.measured)), element("td", "n published", numbered(run.published)));
  return made;
};

const more = () => {
  body.append(...shown.slice(drawn, (drawn += CHUNK)).map(row));
};
const show = () => {
  const wanted = filters.words.value.toLowerCase().split(" ").filter(Boolean);
  const isChosen = name => run => !filters[name].value || run[name] === filters[name].value;
  shown = runs.filter(run => wanted.every(word => run.words.includes(word)));
  for (const name of ["paper", "preset", "state"]) shown = shown.filter(isChosen(name));
  const isEmpty = value => value === "" || value === null;
  const compare = (a, b) => isEmpty(a) || isEmpty(b) ? isEmpty(a) - isEmpty(b) : (a < b ? -1 : a > b ? 1 : 0) * (ascending ? 1 : -1);
  const value = sortedBy === "preset" ? run => `${run.paper}/${run.preset}` : run => run[sortedBy];
  shown.sort((a, b) => compare(value(a), value(b)));
  document.querySelector("#count").textContent = shown.length < runs.length ? `${shown.length} of ${runs.length} runs` : "";
  body.replaceChildren();
  drawn = 0;
  more();
};

const options = (name, among) => {
  const kept = filters[name].value;
  const found = [...new Set(among.map(run => run[name]).filter(Boolean))].sort();
  filters[name].replaceChildren(new Option(`every ${name}`, ""), ...found.map(value => new Option(value, value)));
  filters[name].value = found.includes(kept) ? kept : "";
};
for (const name of ["paper", "preset", "state"]) options(name, runs);
document.querySelector("#filters").oninput = event => {
  if (event.target.name === "paper") options("preset", runs.filter(run => !event.target.value || run.paper === event.target.value));
  show();
};
const headings = document.querySelectorAll("#runs th[data-sort]");
for (const heading of headings)
  heading.onclick = () => {
    ascending = sortedBy === heading.dataset.sort ? !ascending : true;
    sortedBy = heading.dataset.sort;
    for (const other of headings) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    show();
  };
new IntersectionObserver(entries => entries.some(entry => entry.isIntersecting) && more(), {rootMargin: "600px"}).observe(end);
show();
