// The table is sorted by a click on a heading and filtered by words and states; what it leaves out, the charts do too.
const jobs = document.querySelector("#jobs");
const rows = [...jobs.querySelectorAll("tbody tr")];

jobs.querySelectorAll("th[data-sort]").forEach((heading, column) => {
  let ascending = false;
  heading.onclick = () => {
    ascending = !ascending;
    const value = row => row.children[column].dataset.value;
    const compare = (a, b) => a === "" || b === "" ? (a === "") - (b === "") :
      (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b) * (ascending ? 1 : -1);
    jobs.tBodies[0].append(...rows.sort((a, b) => compare(value(a), value(b))));
    jobs.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  };
});

const drawn = new Map(rows.map(row => [row.dataset.job, []]));
for (const mark of document.querySelectorAll("svg [data-job]")) drawn.get(mark.dataset.job).push(mark);

const filters = document.querySelector(".filters");
if (filters) {
  const [words, state, count] = ["#words", "#state", "#count"].map(name => filters.querySelector(name));
  const filter = () => {
    const wanted = words.value.toLowerCase().split(" ").filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const isShown = wanted.every(word => text.includes(word)) && [undefined, "", row.dataset.state].includes(state?.value);
      row.hidden = !isShown;
      shown += isShown;
      for (const mark of drawn.get(row.dataset.job)) mark.classList.toggle("off", !isShown);
    }
    count.textContent = shown < rows.length ? `${shown} of ${rows.length} jobs` : `${rows.length} jobs`;
  };
  filters.hidden = false;
  filters.oninput = filter;
  filter();
}

const near = (job, isNear) => {
  for (const mark of drawn.get(job)) mark.classList.toggle("near", isNear);
  rows.find(row => row.dataset.job === job).classList.toggle("near", isNear);
};
for (const row of rows) {
  row.onpointerenter = () => near(row.dataset.job, true);
  row.onpointerleave = () => near(row.dataset.job, false);
}
for (const mark of document.querySelectorAll("svg [data-job]")) {
  mark.addEventListener("pointerenter", () => near(mark.dataset.job, true));
  mark.addEventListener("pointerleave", () => near(mark.dataset.job, false));
}
