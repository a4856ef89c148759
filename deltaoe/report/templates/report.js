
"use strict";
(() => {
  const table = document.getElementById("images");
  if (!table) return;
  const body = table.tBodies[0];
  const given = Array.from(body.rows);
  const collator = new Intl.Collator(undefined, { numeric: true });
  // File names of one system may spell é as one character, those of another as two.
  const fold = (text) => text.normalize("NFC").toLowerCase();
  const cell = (row, name) => row.querySelector("td." + name).textContent;
  const texts = new Map(given.map((row) => [
    row, fold([cell(row, "path"), cell(row, "class"), ...Array.from(row.querySelectorAll("td.top bdi"),
      (label) => label.textContent)].join("\n")),
  ]));

  const verdicts = Array.from(document.querySelectorAll("input[name=verdict]"));
  const classes = document.getElementById("class");
  const search = document.getElementById("text");
  const shown = document.getElementById("shown");

  function filter() {
    const verdict = verdicts.find((radio) => radio.checked).value;
    const wanted = fold(search.value.trim());
    let count = 0;
    for (const row of given) {
      const fits = (!verdict || row.dataset.verdict === verdict)
        && (!classes.value || row.dataset.class === classes.value)
        && texts.get(row).includes(wanted);
      row.hidden = !fits;
      count += fits ? 1 : 0;
    }
    shown.textContent = `${count} of ${given.length} shown`;
  }

  // Rows without a number come last in both directions.
  function byNumber(column, sign) {
    const keys = new Map(given.map((row) => [row, parseFloat(row.cells[column].dataset.v)]));
    return (a, b) => {
      const x = keys.get(a), y = keys.get(b);
      if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
      return x === y ? 0 : sign * (x < y ? -1 : 1);
    };
  }

  function byText(column, sign) {
    const keys = new Map(given.map((row) => [row, row.cells[column].textContent]));
    return (a, b) => sign * collator.compare(keys.get(a), keys.get(b));
  }

  // Up, down, and back to the order given.
  function sort(header) {
    const next = { ascending: "descending", descending: null }[header.getAttribute("aria-sort")];
    const order = next === undefined ? "ascending" : next;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    let rows = given;
    if (order) {
      header.setAttribute("aria-sort", order);
      const by = header.dataset.sort === "number" ? byNumber : byText;
      rows = given.slice().sort(by(header.cellIndex, order === "ascending" ? 1 : -1));
    }
    const fragment = document.createDocumentFragment();
    for (const row of rows) fragment.append(row);
    body.append(fragment);
  }

  for (const header of table.querySelectorAll("th[data-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent;
    button.addEventListener("click", () => sort(header));
    header.replaceChildren(button);
  }
  for (const control of [...verdicts, classes, search]) control.addEventListener("input", filter);
  filter();  // a browser may have kept the filters over a reload
  document.getElementById("filters").hidden = false;
  document.documentElement.dataset.script = "ran";
})();
