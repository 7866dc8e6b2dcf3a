// The pages work without this file. It only says when a page that refreshes itself could not.
for (const event of ["htmx:error", "htmx:response:error"]) {
  document.addEventListener(event, () => { document.getElementById("stale").hidden = false; });
}
document.addEventListener("htmx:after:swap", () => { document.getElementById("stale").hidden = true; });
