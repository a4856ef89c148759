// The images of the page as objects, and how their values are written. Names are text, and never become markup.
const report = JSON.parse(document.getElementById("data").textContent);
const VERDICTS = ["known", "unknown", "undecided"];
const NONE_FITS = "none fits";
const MINUS = "\u2212", NOTHING = "\u2014";
const collator = new Intl.Collator(undefined, { numeric: true });
const byId = (id) => document.getElementById(id);

// An element with attributes and children; children are elements or texts.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== "" && child !== null));
  return element;
}

// As the page writes names: control characters, half characters and direction overrides become visible.
function visible(text) {
  return text.replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f\u202d\u202e]|\p{Cs}/gu, (one) => {
    let code = one.codePointAt(0);
    if (code >= 0xdc80 && code <= 0xdcff) code -= 0xdc00;  // a byte that is no text
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

const named = (text, attributes = {}) => make("bdi", attributes, visible(text));

function decimal(value, places = report.places, sign = false) {
  if (value === null) return NOTHING;
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "\u221e" : `${MINUS}\u221e`;
  let text = (value + 0).toFixed(places);
  if (value && !/[1-9]/.test(text)) text = value.toExponential(0).replace(/e([+-])(\d)$/, "e$10$2");
  return (sign && value > 0 ? "+" : "") + text.replace(/^-(?=0\.?0*$)/, "").replaceAll("-", MINUS);
}

function share(part, whole) {
  if (!whole) return NOTHING;
  const value = 100 * part / whole;
  if (value > 0 && value < 0.05) return "under 0.1 %";
  if (value >= 99.95 && value < 100) return "over 99.9 %";
  return `${value.toFixed(part > 0 && part < whole ? 1 : 0)} %`;
}

const count = (number) => number.toLocaleString("en");
const images = (number) => `${count(number)} image${number === 1 ? "" : "s"}`;

const column = (name, row) => (report.rows[name] ? report.rows[name][row] : null);
const numeric = (value) => (value === null ? null : Number(value));

// In the order given; failed files are the last.
const entries = report.rows.name.map((name, row) => ({
  number: row,
  folder: report.folders[report.rows.folder[row]],
  name,
  path: report.folders[report.rows.folder[row]] + name,
  verdict: VERDICTS[report.rows.verdict[row]],
  label: report.names[report.rows.label[row]],
  score: numeric(report.rows.score[row]),
  p: report.rows.p[row],
  margin: numeric(column("margin", row)),
  parts: column("parts", row) || [],
  reason: column("reason", row) || "",
  looks: report.rows.looks ? report.names[report.rows.looks[row]] : "",
  cosine: column("cosine", row),
  group: column("group", row),
  error: "",
}));
for (const [path, error] of report.failed) {
  const cut = Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")) + 1;
  entries.push({
    number: entries.length, folder: path.slice(0, cut), name: path.slice(cut), path, verdict: "failed", label: "",
    score: null, p: null, margin: null, parts: [], reason: "", looks: "", cosine: null, group: null, error,
  });
}
const scored = report.rows.name.length;
const groupNames = new Map(report.groups);

// The thumbnails are in the table, which readers without scripts see, and nowhere else.
const thumbnails = new Map();
for (const row of document.querySelectorAll("#images tbody tr")) {
  const image = row.querySelector("img");
  if (image) thumbnails.set(Number(row.dataset.row), image.getAttribute("src"));
}

const pOf = (entry) => (entry.p === null ? null : report.levels[entry.p][0]);
const pText = (entry) => (entry.p === null ? NOTHING : report.levels[entry.p][1]);

// "less familiar than 99 % of your images"
function familiarity(entry) {
  const place = VERDICTS.indexOf(entry.verdict);
  if (entry.p === null || place < 0 || place > 1) return "";
  return report.levels[entry.p][2 + place] + (report.perClass ? ` of ${visible(entry.label)}` : "");
}

const reasonWords = (entry) => report.reasons[entry.reason] || visible(entry.reason);

// looks like "airliner" cosine 0.27
function looksLike(entry) {
  if (!entry.looks || entry.verdict !== "unknown") return [];
  if (entry.looks === NONE_FITS) return ["no name fits"];
  const words = ["looks like ", named(entry.looks)];
  if (entry.cosine !== null) words.push(" ", make("small", { class: "num" }, `cosine ${decimal(entry.cosine, 2)}`));
  return words;
}

function pathOf(entry) {
  return [entry.folder && named(entry.folder, { class: "folder" }), named(entry.name, { class: "name" })];
}

const badge = (entry) => make("span", { class: `badge ${entry.verdict}` }, entry.verdict);

function picture(entry, alt, attributes = {}) {
  const thumbnail = thumbnails.get(entry.number);
  if (!thumbnail) return make("span", { class: "none" }, entry.error ? "failed" : "no preview");
  return make("img", { ...attributes, src: thumbnail, alt, loading: "lazy", decoding: "async" });
}
