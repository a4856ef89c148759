// Which images are shown, and in which order.
const filter = { verdict: "", label: "", folder: "", reason: "", looks: "", group: "", text: "" };
const SELECTS = ["label", "folder", "reason", "looks", "group"].filter((name) => byId(name));
const UNGROUPED = "none";
let sorting = "score";
let shown = entries;

// File names of one system may spell é as one character, those of another as two.
const fold = (text) => text.normalize("NFC").toLowerCase();

function searchText(entry) {
  if (entry.searched === undefined) {
    const top = column("top", entry.number) || [];
    const labels = top.filter((_, place) => place % 2 === 0).map((name) => report.names[name]);
    const group = groupNames.get(entry.group) || "";
    entry.searched = fold([entry.path, entry.label, ...labels, entry.looks, group, entry.error].join("\n"));
  }
  return entry.searched;
}

// What a select lists of an image: a value, and its words.
const FACETS = {
  label: (entry) => [entry.label, entry.label],
  folder: (entry) => [entry.folder || ".", entry.folder || "(none)"],
  reason: (entry) => [entry.reason, reasonWords(entry)],
  looks: (entry) => (entry.verdict === "unknown" ? [entry.looks, entry.looks] : ["", ""]),
  group: (entry) => (entry.group === null ? [UNGROUPED, "in no group"]
    : [String(entry.group), groupNames.get(entry.group)]),
};

function fits(entry, wanted) {
  if (filter.verdict && entry.verdict !== filter.verdict) return false;
  for (const name of SELECTS) {
    if (filter[name] && FACETS[name](entry)[0] !== filter[name]) return false;
  }
  return !wanted || searchText(entry).includes(wanted);
}

const distance = (entry) => {
  const margin = marginOf(entry);
  return margin === null || Number.isNaN(margin) ? null : Math.abs(margin);
};
const KEYS = {
  score: (entry) => entry.score, p: pOf, closest: distance, path: (entry) => entry.path, label: (entry) => entry.label,
  verdict: (entry) => entry.verdict, looks: (entry) => (entry.verdict === "unknown" ? entry.looks : ""),
};

// What has no value comes last in both directions; equal ones keep the order given.
function sorted(some) {
  const sign = sorting.startsWith("-") ? -1 : 1, key = KEYS[sorting.replace("-", "")];
  const missing = (value) => value === null || value === "" || Number.isNaN(value);
  const keyed = some.map((entry) => [key(entry), entry]);
  keyed.sort(([a, one], [b, other]) => {
    if (missing(a) || missing(b)) return missing(a) - missing(b) || one.number - other.number;
    const order = typeof a === "string" ? collator.compare(a, b) : a - b;
    return sign * order || one.number - other.number;
  });
  return keyed.map(([, entry]) => entry);
}

function select() {
  const wanted = fold(filter.text.trim());
  shown = sorted(entries.filter((entry) => fits(entry, wanted)));
}

// The options of a select, the most frequent first, with their numbers of images.
function writeOptions(name) {
  const found = new Map();
  for (const entry of entries) {
    const [value, words] = FACETS[name](entry);
    if (!value) continue;
    const one = found.get(value) || { words, images: 0 };
    one.images += 1;
    found.set(value, one);
  }
  const listed = Array.from(found).sort(([, a], [, b]) => b.images - a.images || collator.compare(a.words, b.words));
  byId(name).replaceChildren(make("option", { value: "" }, "all"));
  listed.forEach(([value, one], place) => {
    const option = make("option", {}, `${visible(one.words)} (${count(one.images)})`);
    option.value = String(place + 1);  // a value may be any text
    option.wanted = value;
    option.selected = value === filter[name];
    byId(name).append(option);
  });
  // What a filter asked for may be gone with another α.
  if (filter[name] && !found.has(filter[name])) filter[name] = "";
}

function writeCounts() {
  const found = verdictCounts(entries);
  for (const place of document.querySelectorAll("[data-count]")) {
    place.textContent = count(place.dataset.count ? found[place.dataset.count] : entries.length);
  }
  SELECTS.forEach(writeOptions);
  writeTally("by-folder", "folder", entries);
  writeTally("by-class", "label", entries.slice(0, scored));
}

// The table of folders or classes; each name is a button that filters.
function writeTally(id, name, some) {
  const body = document.querySelector(`#${id} tbody`);
  if (!body) return;
  const found = new Map();
  for (const entry of some) {
    const [value, words] = FACETS[name](entry);
    const one = found.get(value) || { words, images: 0, unknown: 0, failed: 0 };
    one.images += 1;
    if (entry.verdict in one) one[entry.verdict] += 1;
    found.set(value, one);
  }
  const columns = document.querySelectorAll(`#${id} thead th`).length - 1;
  const listed = Array.from(found).sort(([, a], [, b]) => b.unknown - a.unknown || b.images - a.images
    || collator.compare(a.words, b.words));
  body.replaceChildren(...listed.slice(0, 1000).map(([value, one]) => {
    const button = make("button", { type: "button" }, named(one.words));
    button.addEventListener("click", () => setFilters({ [name]: value }, true));
    const numbers = [one.images, one.unknown, one.failed].slice(0, columns);
    return make("tr", {}, make("th", { scope: "row" }, button),
      ...numbers.map((number) => make("td", { class: "num" }, count(number))));
  }));
}

// Filters by new values; from elsewhere on the page, the others are cleared and the images come into view.
function setFilters(values, elsewhere = false) {
  if (elsewhere) for (const name of Object.keys(filter)) filter[name] = "";
  Object.assign(filter, values);
  for (const radio of document.querySelectorAll("input[name=verdict]")) radio.checked = radio.value === filter.verdict;
  byId("text").value = filter.text;
  for (const name of SELECTS) {
    for (const option of byId(name).options) option.selected = (option.wanted || "") === filter[name];
  }
  refresh();
  if (elsewhere) byId("tools").scrollIntoView();
}

function startFilters() {
  writeCounts();
  for (const radio of document.querySelectorAll("input[name=verdict]")) {
    radio.addEventListener("input", () => { filter.verdict = radio.value; refresh(); });
    if (radio.checked) filter.verdict = radio.value;  // a browser may have kept it over a reload
  }
  for (const name of SELECTS) {
    byId(name).addEventListener("input", (event) => {
      filter[name] = event.target.selectedOptions[0].wanted || "";
      refresh();
    });
  }
  byId("text").addEventListener("input", (event) => { filter.text = event.target.value; refresh(); });
  byId("sort").addEventListener("input", (event) => { sorting = event.target.value; refresh(); });
  byId("clear-filters").addEventListener("click", () => {
    setFilters({ verdict: "", label: "", folder: "", reason: "", looks: "", group: "", text: "" });
    byId("text").focus();  // the button goes away
  });
  filter.text = byId("text").value;
  sorting = byId("sort").value;
}
