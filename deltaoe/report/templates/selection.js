// Images selected, their paths to copy, and lists of them to download.

// The images to take along: those selected, or all that are shown.
const taken = () => (picked.size ? entries.filter((entry) => picked.has(entry)) : shown);

function pick(some, on) {
  for (const entry of some) {
    if (on) picked.add(entry);
    else picked.delete(entry);
  }
  for (const box of document.querySelectorAll("[data-row] .pick input")) {
    box.checked = picked.has(entries[box.closest("[data-row]").dataset.row]);
  }
  writeShown();
}

function writeShown() {
  const only = picked.size > 0, what = only ? `${count(picked.size)} selected` : `${count(shown.length)} shown`;
  byId("shown").textContent = `${count(shown.length)} of ${count(entries.length)} shown`
    + (only ? `, ${count(picked.size)} selected` : "");
  byId("select-none").hidden = !only;
  byId("select-shown").disabled = !shown.length;
  for (const id of ["copy", "download-txt", "download-csv"]) byId(id).disabled = !(only || shown.length);
  byId("copy").textContent = `Copy paths of ${what}`;
  for (const [id, file] of [["download-txt", "paths.txt"], ["download-csv", "images.csv"]]) {
    byId(id).textContent = file;
    byId(id).setAttribute("aria-label", `Download ${file} of ${what}`);
  }
}

// Over an open image, what is behind it is neither seen nor read out.
const say = (text) => { byId(lightbox.open ? "big-done" : "done").textContent = text; };

// ./-name is the same file as -name, and neither an option of a program nor a formula of a spreadsheet.
const formula = /^'*[-=+@\t\r\n＝＋－＠]/;  // as deltaoe/images/csv_cells.py
const asArgument = (path) => (formula.test(path) ? `./${path}` : path);

// The bytes of a text; file names keep those that are not UTF-8, which Python holds as half characters.
function bytes(text) {
  const pieces = [];
  let start = 0;
  for (const half of text.matchAll(/[\udc80-\udcff]/gu)) {
    pieces.push(text.slice(start, half.index), new Uint8Array([half[0].charCodeAt(0) - 0xdc00]));
    start = half.index + 1;
  }
  return [...pieces, text.slice(start)];
}

function download(name, kind, text) {
  const url = URL.createObjectURL(new Blob(bytes(text), { type: kind }));
  const link = make("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

// One path per line. A path with a line break would be two of them.
function pathsText(some) {
  return some.filter((entry) => !/[\r\n]/.test(entry.path)).map((entry) => `${asArgument(entry.path)}\n`).join("");
}

function cell(value) {
  return /[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
}

// A name that a spreadsheet would take for a formula begins with an apostrophe.
const asText = (name) => (formula.test(name) ? `'${name}` : name);

function imagesCsv(some) {
  const rows = some.map((entry) => {
    const unknown = entry.verdict === "unknown";
    return [
      asArgument(entry.path), entry.verdict, asText(entry.label), pOf(entry) === null ? "" : String(pOf(entry)),
      entry.reason, unknown ? asText(entry.looks) : "", unknown && entry.cosine !== null ? String(entry.cosine) : "",
      asText(groupNames.get(entry.group) || ""), asText(entry.error),
    ].map(cell).join(",");
  });
  const head = "path,verdict,class,p_value,unknown_by,looks_like,looks_like_cosine,group,error";
  return [head, ...rows].map((line) => `${line}\r\n`).join("");
}

function leftOut(some) {
  const broken = some.filter((entry) => /[\r\n]/.test(entry.path)).length;
  return broken ? ` ${images(broken)} with a line break in the path ${broken === 1 ? "is" : "are"} only in images.csv.` : "";
}

async function copy(some) {
  const text = pathsText(some);
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // A browser that does not give a page the clipboard still copies what is selected in it.
    const area = make("textarea", { class: "unseen", "aria-hidden": "true" });
    const place = lightbox.open ? lightbox : document.body, before = document.activeElement;
    area.value = text;
    place.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before.focus();
    if (!done) return say("The browser does not allow copying; paths.txt has the paths.");
  }
  const halves = some.filter((entry) => /\p{Cs}/u.test(entry.path)).length;
  return say(`${some.length === 1 ? "1 path" : `${count(some.length)} paths`} copied.${leftOut(some)}`
    + (halves ? " Names that are not UTF-8 are right only in the downloads." : ""));
}

function startSelection() {
  byId("select-shown").addEventListener("click", () => pick(shown, true));
  byId("select-none").addEventListener("click", () => {
    pick(Array.from(picked), false);
    byId("select-shown").focus();  // the button goes away
  });
  byId("copy").addEventListener("click", () => copy(taken()));
  byId("download-txt").addEventListener("click", () => {
    const some = taken();
    download("paths.txt", "text/plain;charset=utf-8", pathsText(some));
    say(`paths.txt has ${count(some.length)} paths.${leftOut(some)}`);
  });
  byId("download-csv").addEventListener("click", () => {
    const some = taken();
    download("images.csv", "text/csv;charset=utf-8", imagesCsv(some));
    say(`images.csv has ${images(some.length)}.`);
  });
}
