// α: p ≤ α is unknown. Moving it gives every image its verdict anew, exactly as another run would.
const chosen = { alpha: report.alpha, threshold: report.threshold };
const movable = report.stops.length > 0;
const listeners = [];  // called when verdicts have changed

// Which sides call the image unknown by themselves.
function reasonAt(entry, alpha) {
  if (!entry.parts.length) return "";
  const p = new Map(report.parts.map((name, place) => [name, report.levels[entry.parts[place]][0]]));
  return ["text", "images"].filter((side) => p.get(side) <= alpha).join(" and ") || "together";
}

function judge(stop) {
  for (const entry of entries.slice(0, scored)) {
    if (entry.p === null) continue;
    const unknown = pOf(entry) <= stop.alpha;
    entry.verdict = stop.threshold === null ? "undecided" : unknown ? "unknown" : "known";
    entry.reason = entry.verdict === "unknown" ? reasonAt(entry, stop.alpha) : "";
  }
}

// At the run's own threshold the margin may be given, because classes can have a threshold each.
function marginOf(entry) {
  if (entry.score === null) return null;
  return chosen.threshold === null ? entry.margin : entry.score - chosen.threshold;
}

function verdictCounts(some) {
  const found = { known: 0, unknown: 0, undecided: 0, failed: 0 };
  for (const entry of some) found[entry.verdict] += 1;
  return found;
}

function textOf(alpha) {
  return report.stops.find((stop) => stop.alpha === alpha).text;
}

function writeTiles(moved) {
  // The counts of the run are of all images, also of those that are not on this page.
  const found = moved ? { ...verdictCounts(entries), failed: report.counts.failed } : report.counts;
  const total = Object.values(found).reduce((sum, one) => sum + one, 0);
  for (const name of [...VERDICTS, "failed"]) {
    const tile = byId(`count-${name}`), number = found[name] || 0;
    tile.querySelector("strong").textContent = count(number);
    tile.querySelector("small").textContent = share(number, total);
    tile.classList.toggle("zero", !number);
  }
  const tile = byId("threshold");
  tile.querySelector("strong").textContent = textOf(chosen.alpha);
  tile.querySelector("small").replaceChildren(...(chosen.threshold === null
    ? ["no threshold"]
    : [`${report.scoreName} below `, make("b", {}, decimal(chosen.threshold))]));
  tile.classList.toggle("zero", chosen.threshold === null);
  tellPromise(moved);
  const level = byId("parts-level");
  if (level) level.textContent = textOf(chosen.alpha);
}

// What the page promises of the run holds at the α of the run.
const promise = Array.from(byId("promise").childNodes);

function tellPromise(moved) {
  const place = byId("promise");
  // Or the slider would move away under the pointer.
  if (!place.style.minHeight) place.style.minHeight = `${place.offsetHeight}px`;
  place.replaceChildren(...(moved
    ? [`These are the verdicts at α = ${textOf(chosen.alpha)}${report.leftOut ? " on the images of this page" : ""}. The files of the run have those at α = ${textOf(report.alpha)}; `
      + "for others, run ", make("code", {}, `deltaoe score --alpha ${chosen.alpha}`), "."]
    : promise));
}

function drawThreshold(stop) {
  const group = byId("threshold-group");
  if (!group) return;
  const drawn = stop.place !== null;
  group.setAttribute("visibility", drawn ? "inherit" : "hidden");
  for (const old of document.querySelectorAll(".bars .split")) old.remove();
  for (const bar of document.querySelectorAll(".bars rect:not(.calibration)")) {
    const x = parseFloat(bar.getAttribute("x")), width = parseFloat(bar.getAttribute("width"));
    const inside = drawn && x < stop.place && stop.place < x + width;
    bar.setAttribute("class", !drawn ? "scored" : x + width <= stop.place ? "unknown" : "known");
    if (inside) {  // the bar has images of both sides
      const left = bar.cloneNode(true);
      left.setAttribute("class", "unknown split");
      left.setAttribute("width", `${stop.place - x}%`);
      bar.after(left);
    }
  }
  for (const item of document.querySelectorAll(".legend li:not(.calibration)")) {
    item.hidden = item.classList.contains("scored") === drawn;
  }
  if (!drawn) return;
  for (const mark of group.querySelectorAll("text")) mark.setAttribute("x", `${stop.place}%`);
  for (const end of ["x1", "x2"]) byId("threshold-line").setAttribute(end, `${stop.place}%`);
  byId("threshold-text").textContent = `threshold ${decimal(stop.threshold)}`;
  byId("threshold-text").setAttribute("text-anchor", stop.place > 60 ? "end" : "start");
  byId("unknown-side").setAttribute("visibility", stop.place > 24 ? "inherit" : "hidden");
  byId("known-side").setAttribute("visibility", stop.place < 80 ? "inherit" : "hidden");
}

function alphaSays(stop) {
  const found = verdictCounts(entries);
  const here = `α = ${stop.text}: `;
  if (stop.threshold === null) {
    return `${here}with ${images(report.calibration)} for calibration no p-value is below 1/${count(report.calibration + 1)}, `
      + "so nothing can be called unknown, and no image has a verdict.";
  }
  return `${here}at most ${stop.text} of images like yours would be called unknown, on average. `
    + `Here ${count(found.unknown)} of ${images(scored)}${report.leftOut ? " on this page" : ""} `
    + `${found.unknown === 1 ? "is" : "are"} unknown.`;
}

function setAlpha(place) {
  const stop = report.stops[place], moved = stop.alpha !== report.alpha;
  chosen.alpha = stop.alpha;
  chosen.threshold = stop.threshold;
  judge(stop);
  byId("alpha-slider").setAttribute("aria-valuetext", `α = ${stop.text}`);
  byId("alpha-says").textContent = alphaSays(stop);
  byId("alpha-reset").hidden = !moved;
  writeTiles(moved);
  drawThreshold(stop);
  for (const tell of listeners) tell();
}

function startAlpha() {
  const fixed = byId("alpha-fixed");
  if (fixed) fixed.hidden = false;
  if (!movable) return;
  const slider = byId("alpha-slider"), own = report.stops.findIndex((stop) => stop.alpha === report.alpha);
  const back = () => { slider.value = own; setAlpha(own); slider.focus(); };
  slider.value = own;
  slider.addEventListener("input", () => setAlpha(Number(slider.value)));
  byId("alpha-reset").addEventListener("click", back);
  slider.setAttribute("aria-valuetext", `α = ${report.stops[own].text}`);
  byId("alpha-says").textContent = alphaSays(report.stops[own]);
  byId("alpha").hidden = false;
}
