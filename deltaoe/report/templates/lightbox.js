// One image in full, over the page. The dialog element keeps the focus inside, and Escape closes it.
const lightbox = byId("lightbox");
let opened = null;

function facts(entry) {
  if (entry.error) return [make("p", {}, badge(entry), " ", named(entry.error))];
  const said = [familiarity(entry), reasonWords(entry)].filter(Boolean).join("; ");
  const looks = looksLike(entry);
  const group = groupNames.get(entry.group);
  // A row of the table has all numbers in its details.
  const numbers = pattern.querySelector("details").cloneNode(true);
  fillNumbers(numbers, entry);
  numbers.querySelector("summary").textContent = "numbers";
  return [
    make("p", { class: "what" }, badge(entry), " ",
      ...(entry.verdict === "unknown" ? ["taken for ", named(entry.label)] : [named(entry.label)])),
    said && make("p", {}, said),
    looks.length && make("p", {}, ...looks),
    group && make("p", {}, "in the group ", named(group)),
    make("p", {}, "p = ", make("span", { class: "num" }, pText(entry))),
    numbers,
  ].filter(Boolean);
}

function show(entry) {
  const open = byId("facts").querySelector("details"), details = open && open.open;
  opened = entry;
  const thumbnail = thumbnails.get(entry.number), place = shown.indexOf(entry);
  byId("big").hidden = !thumbnail;
  byId("no-big").hidden = Boolean(thumbnail);
  if (thumbnail) byId("big").setAttribute("src", thumbnail);
  else byId("big").removeAttribute("src");
  byId("big").alt = thumbnail ? visible(entry.name) : "";
  byId("place").textContent = `${count(place + 1)} of ${count(shown.length)}`;
  byId("big-path").replaceChildren(...pathOf(entry).filter(Boolean));
  byId("facts").replaceChildren(...facts(entry));
  const numbers = byId("facts").querySelector("details");
  if (numbers) numbers.open = Boolean(details);
  byId("big-done").textContent = "";
  byId("big-pick").checked = picked.has(entry);
  byId("back").disabled = place === 0;
  byId("forth").disabled = place === shown.length - 1;
}

function openLightbox(entry) {
  show(entry);
  lightbox.showModal();
  byId("close").focus();
}

function step(by) {
  const next = shown[shown.indexOf(opened) + by];
  if (!next) return;
  show(next);
  // A button that is no longer of use must not take the focus with it.
  if (!lightbox.contains(document.activeElement) || document.activeElement.disabled) byId("close").focus();
}

// The focus goes to the image that was looked at last, on its page.
function afterClosing() {
  const place = shown.indexOf(opened), its = Math.floor(place / PER_PAGE[view]);
  if (place >= 0 && its !== page) {
    page = its;
    draw();
  }
  const button = document.querySelector(`[data-open="${opened.number}"]`);
  if (button) button.focus();
  opened = null;
}

function startLightbox() {
  lightbox.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    step(by);
  });
  lightbox.addEventListener("click", (event) => { if (event.target === lightbox) lightbox.close(); });
  lightbox.addEventListener("close", afterClosing);
  byId("back").addEventListener("click", () => step(-1));
  byId("forth").addEventListener("click", () => step(1));
  byId("close").addEventListener("click", () => lightbox.close());
  byId("big-pick").addEventListener("change", (event) => pick([opened], event.target.checked));
  byId("big-copy").addEventListener("click", () => copy([opened]));
}
