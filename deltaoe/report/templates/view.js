// The images shown, as a gallery or as a table, some on each page.
const PER_PAGE = { gallery: 120, table: 100 };
const picked = new Set();  // images selected, whatever is shown
let view = "gallery";
let page = 0;

const table = byId("images");
const rowOf = (kind) => table && table.tBodies[0].querySelector(kind);
// What a row has in it is said in the template.
const pattern = rowOf("tr:not(.failed)"), failedPattern = rowOf("tr.failed");
const pages = () => Math.max(1, Math.ceil(shown.length / PER_PAGE[view]));
const onPage = () => shown.slice(page * PER_PAGE[view], (page + 1) * PER_PAGE[view]);

function checkbox(entry) {
  const box = make("input", { type: "checkbox", "aria-label": `select ${visible(entry.path)}`, autocomplete: "off" });
  box.checked = picked.has(entry);
  box.addEventListener("change", () => pick([entry], box.checked));
  return make("label", { class: "pick" }, box);
}

function opener(entry, content) {
  // What is read in place of a picture begins the name: who speaks to the browser says what is seen.
  const label = `${content.textContent} open ${visible(entry.path)}`.trim();
  const button = make("button", { type: "button", class: "open", "data-open": entry.number, "aria-haspopup": "dialog",
    "aria-label": label }, content);
  button.addEventListener("click", () => openLightbox(entry));
  return button;
}

function card(entry) {
  const known = entry.verdict === "known" || entry.verdict === "undecided";
  const about = entry.error ? [visible(entry.error)] : known ? [named(entry.label)] : looksLike(entry);
  return make("li", { class: `card ${entry.verdict}`, "data-row": entry.number },
    opener(entry, picture(entry, "")), checkbox(entry),
    make("p", { class: "path" }, named(entry.name, { class: "name" })),
    make("p", { class: "what" }, badge(entry), " ", ...about),
    make("p", { class: "words" }, familiarity(entry)),
    make("p", { class: "words" }, reasonWords(entry)));
}

// The numbers of an image: score, margin, p-value of each part, likeliest classes.
function fillNumbers(place, entry) {
  place.querySelector(".score").textContent = decimal(entry.score);
  place.querySelector(".margin").textContent = decimal(marginOf(entry), report.places, true);
  const parts = place.querySelector(".parts");
  if (parts) {
    parts.replaceChildren(...entry.parts.map((level, part) => {
      const [p, text] = report.levels[level];
      return make("li", p <= chosen.alpha ? { class: "low" } : {}, visible(report.parts[part]), " ",
        make("span", { class: "num" }, text));
    }));
  }
  const top = column("top", entry.number), items = [];
  for (let i = 0; i < top.length; i += 2) {
    items.push(make("li", {}, named(report.names[top[i]]), " ", make("span", { class: "num" }, decimal(top[i + 1], 4))));
  }
  place.querySelector(".top").replaceChildren(...items);
}

function tableRow(entry) {
  const row = (entry.error ? failedPattern : pattern).cloneNode(true);
  row.className = entry.verdict;
  row.dataset.row = entry.number;
  const cell = (name, ...content) => { const one = row.querySelector(`td.${name}`); if (one) one.replaceChildren(...content); };
  cell("preview", ...(entry.error ? [] : [opener(entry, picture(entry, ""))]), checkbox(entry));
  cell("path", ...pathOf(entry).filter(Boolean));
  cell("verdict", badge(entry));
  if (entry.error) {
    cell("reason", named(entry.error));
    return row;
  }
  cell("class", named(entry.label));
  cell("p", make("span", { class: "num" }, pText(entry)), " ", make("small", { class: "words" }, familiarity(entry)));
  cell("looks", ...looksLike(entry));
  cell("why", reasonWords(entry));
  row.querySelector("summary .num").textContent = decimal(entry.score);
  row.querySelector("details").open = false;
  fillNumbers(row, entry);
  return row;
}

function draw() {
  const gallery = byId("gallery");
  gallery.hidden = view !== "gallery" || !shown.length;
  byId("table-view").hidden = view !== "table" || !shown.length;
  gallery.replaceChildren(...(view === "gallery" ? onPage().map(card) : []));
  table.tBodies[0].replaceChildren(...(view === "table" ? onPage().map(tableRow) : []));
  for (const header of table.querySelectorAll("th[data-sort]")) {
    const here = sorting.replace("-", "") === header.dataset.sort;
    if (here) header.setAttribute("aria-sort", sorting.startsWith("-") ? "descending" : "ascending");
    else header.removeAttribute("aria-sort");
  }
  const many = pages();
  byId("pager").hidden = many === 1;
  byId("page").value = page + 1;
  byId("page").max = many;
  byId("pages").textContent = `of ${count(many)}`;
  byId("previous-page").disabled = page === 0;
  byId("next-page").disabled = page === many - 1;
  writeShown();
}

// After a filter, an order or α has changed.
function refresh() {
  select();
  page = 0;
  byId("clear-filters").hidden = !Object.values(filter).some(Boolean);
  draw();
}

function turn(to, focus) {
  page = Math.min(Math.max(0, to), pages() - 1);
  draw();
  byId("tools").scrollIntoView();
  const wanted = byId(focus);
  if (wanted) (wanted.disabled ? byId("page") : wanted).focus({ preventScroll: true });
}

function startGroups() {
  const list = byId("groups");
  if (!list) return;
  const members = new Map();
  for (const entry of entries) {
    if (entry.group !== null) members.set(entry.group, [...(members.get(entry.group) || []), entry]);
  }
  const listed = Array.from(members).sort(([, a], [, b]) => b.length - a.length);
  list.replaceChildren(...listed.map(([group, some]) => {
    const faces = some.filter((entry) => thumbnails.has(entry.number)).slice(0, 4);
    const button = make("button", { type: "button" },
      make("span", { class: "faces" }, ...faces.map((entry) => picture(entry, ""))),
      make("span", {}, named(groupNames.get(group)), " ", make("small", {}, images(some.length))));
    button.addEventListener("click", () => setFilters({ group: String(group) }, true));
    return make("li", {}, button);
  }));
}

function startView() {
  for (const radio of document.querySelectorAll("input[name=view]")) {
    radio.addEventListener("input", () => {
      page = Math.floor(page * PER_PAGE[view] / PER_PAGE[radio.value]);
      view = radio.value;
      draw();
    });
    if (radio.checked) view = radio.value;
  }
  for (const header of table.querySelectorAll("th[data-sort]")) {
    const button = make("button", { type: "button" }, header.textContent);
    button.addEventListener("click", () => {
      sorting = sorting === header.dataset.sort ? `-${sorting}` : header.dataset.sort;
      byId("sort").value = sorting;
      refresh();
    });
    header.replaceChildren(button);
  }
  byId("previous-page").addEventListener("click", () => turn(page - 1, "previous-page"));
  byId("next-page").addEventListener("click", () => turn(page + 1, "next-page"));
  byId("page").addEventListener("change", (event) => turn((Math.round(Number(event.target.value)) || 1) - 1, "page"));
}
