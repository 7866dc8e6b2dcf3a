// The whole website script: a visitor id that stays in this browser, where the visitor came from, and a note of each tap
// on a phone link.
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
  const page = location.origin + location.pathname; // what follows can name a patient or an illness
  const outside = (address) => {
    const from = address && new URL(address);
    return from && from.host !== location.host ? from.origin + from.pathname : "";
  };
  const came = navigator.globalPrivacyControl ? {} : (() => {
    const asked = new URLSearchParams(location.search);
    const utm = ["source", "medium", "campaign", "term", "content"].map((part) => `utm_${part}`);
    const found = Object.fromEntries(utm.map((name) => [name, asked.get(name)]).filter(([, text]) => text));
    const referrer = outside(document.referrer);
    return { ...found, referrer, landing: referrer || found.utm_source ? page : "" };
  })();
  for (const form of document.querySelectorAll(`form[action*="/f/${site}/"]`)) {
    for (const [name, value] of Object.entries({ visitor_id: visitor, page, ...came })) {
      let field = form.elements.namedItem(name);
      if (!value || field?.value) continue;
      if (!field) {
        field = document.createElement("input");
        Object.assign(field, { type: "hidden", name });
        form.append(field);
      }
      field.value = value;
    }
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
      page,
    };
    // Text makes sendBeacon send text/plain: no preflight, and it survives leaving the page.
    navigator.sendBeacon(new URL("../../api/v1/call-clicks", src), JSON.stringify(click));
  });
})();
