// The whole website script: a visitor id that stays in this browser, and a note of each tap on a phone link.
// <script defer src="https://YOUR-FRONTDESK/f/static/website.js" data-site="KEY"></script>
(() => {
  const { src, dataset: { site } } = document.currentScript;
  const hex = (byte) => byte.toString(16).padStart(2, "0");
  // crypto.randomUUID is missing on plain http from another machine.
  const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), hex).join("");
  const visitor = (() => {
    try {
      const known = localStorage.getItem("frontdesk_visitor") || newId();
      localStorage.setItem("frontdesk_visitor", known);
      return known;
    } catch {
      return newId(); // storage is switched off: this page view only
    }
  })();
  for (const form of document.querySelectorAll(`form[action*="/f/${site}/"]`)) {
    const field = document.createElement("input");
    Object.assign(field, { type: "hidden", name: "visitor_id", value: visitor });
    form.append(field);
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="tel:"]');
    if (!link) return;
    const click = {
      site,
      id: newId(),
      visitor_id: visitor,
      tel: decodeURIComponent(link.pathname),
      label: link.textContent.trim(),
      page: location.origin + location.pathname,
    };
    // Text makes sendBeacon send text/plain: no preflight, and it survives leaving the page.
    navigator.sendBeacon(new URL("../../api/v1/call-clicks", src), JSON.stringify(click));
  });
})();
