// The pages work without this file. It says when a page that refreshes itself could not, and lets it rest: while nobody
// looks, while staff have paused it, and for longer the longer nothing has changed.
(() => {
  const MINUTE = 60_000;
  const stale = (shown) => { document.getElementById("stale").hidden = !shown; };
  for (const event of ["htmx:error", "htmx:response:error"]) document.addEventListener(event, () => stale(true));

  // How long ago something was changes all the time, and tells nothing new.
  const told = (live) => {
    const copy = live.cloneNode(true);
    copy.querySelectorAll(".soft, .more").forEach((part) => part.remove());
    return copy.textContent;
  };
  let paused = false;
  let last = "";
  let news = performance.now(); // when something changed, or somebody was at this page
  let asked = -Infinity;
  const rest = () => {
    const quiet = performance.now() - news;
    return quiet < MINUTE ? 0 : quiet < 10 * MINUTE ? 5_000 : 15_000;
  };
  for (const event of ["pointermove", "keydown", "focus", "visibilitychange"]) {
    addEventListener(event, () => { news = performance.now(); }, { capture: true, passive: true });
  }
  document.addEventListener("htmx:config:request", (event) => {
    if (!event.target.matches('[hx-trigger^="every"]')) return;
    const now = performance.now();
    if (paused || document.hidden || now - asked < rest()) event.preventDefault();
    else asked = now;
  });
  document.addEventListener("htmx:after:swap", () => {
    stale(false);
    const live = document.getElementById("live");
    const now = live ? told(live) : "";
    if (now !== last) [last, news] = [now, performance.now()];
  });

  // Only there where the browser lets a page do so.
  if (navigator.clipboard) {
    for (const copy of document.querySelectorAll("[data-copies]")) {
      copy.hidden = false;
      copy.addEventListener("click", async () => {
        await navigator.clipboard.writeText(document.getElementById(copy.dataset.copies).textContent);
        copy.firstChild.textContent = "Copied";
        setTimeout(() => { copy.firstChild.textContent = "Copy"; }, 2_000);
      });
    }
  }

  const button = document.getElementById("pause-updates");
  if (!button) return;
  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Go on with updates" : "Pause updates";
    document.getElementById("updates-paused").hidden = !paused;
    asked = -Infinity;
  });
})();
