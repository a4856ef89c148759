// The page works without this script, which adds everything that one can press.
listeners.push(writeCounts, refresh);
startAlpha();
if (table) {
  startFilters();
  startView();
  startGroups();
  startLightbox();
  startSelection();
  byId("tools").hidden = false;
  refresh();
}
document.documentElement.dataset.script = "ran";
