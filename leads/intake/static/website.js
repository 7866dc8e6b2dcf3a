// The whole website script: a note of each tap on a phone link, and a visitor id that joins it to a form.
// <script defer src="https://YOUR-FRONTDESK/f/static/website.js" data-site="KEY"></script>
// Nothing is stored before a tap or a form, and all is forgotten with the tab; data-keep="device" keeps it for good, and
// data-attribution="visit" stores from the first page on where the visit came from.
(() => {
  const { src, dataset } = document.currentScript ?? {};
  // Also behind a “?”: tag managers take away what else a script is told.
  const { site, keep: wanted, attribution } = { ...Object.fromEntries(new URL(src || location).searchParams), ...dataset };
  if (!src || !site) {
    return console.error('Frontdesk: no taps are counted. The script needs data-site="KEY" or ?site=KEY, and no type="module".');
  }
  // A theme and a tag manager may both have it in the page: one of them counts the taps.
  const running = document[Symbol.for("frontdesk")] ??= new Set(); // no name that a form of the page may have
  if (running.has(site)) return;
  running.add(site);
  const forGood = wanted === "device" && !navigator.globalPrivacyControl;
  const MOST = 20; // taps that wait to be sent
  const A_DAY = 86_400_000;
  const A_WHILE = 10_000; // a number that is tapped again so soon is tapped once
  const hex = (byte) => byte.toString(16).padStart(2, "0");
  // crypto.randomUUID is missing on plain http from another machine.
  const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), hex).join("");

  const here = {}; // where storage is switched off: this page view only
  const storage = () => forGood ? localStorage : sessionStorage; // asking for it may throw too
  const recall = (name) => {
    try { return storage().getItem(name) ?? here[name]; } catch { return here[name]; }
  };
  const keep = (name, value) => {
    here[name] = value;
    try { storage().setItem(name, value); } catch { /* see above */ }
  };
  const visitor = () => {
    const known = recall("frontdesk_visitor") || newId();
    keep("frontdesk_visitor", known);
    return known;
  };
  if (!forGood) {
    // An id was once kept for good without asking.
    try { ["frontdesk_visitor", "frontdesk_taps"].forEach((name) => localStorage.removeItem(name)); } catch { /* see above */ }
  }

  const waiting = () => {
    try { return JSON.parse(recall("frontdesk_taps") || "[]").filter(({ at }) => Date.now() - at < A_DAY); } catch { return []; }
  };
  const waitingBut = (id) => waiting().filter(({ tap }) => tap.id !== id);
  const wait = (taps) => keep("frontdesk_taps", JSON.stringify(taps.slice(-MOST)));

  const send = async ({ tap }) => {
    try {
      // A text goes as text/plain: no preflight. keepalive: it survives leaving the page.
      const answer = await fetch(new URL("../../api/v1/call-clicks", src), {
        method: "POST", body: JSON.stringify(tap), keepalive: true, credentials: "omit",
      });
      await answer.text(); // unread, the request never ends
      if (answer.status >= 500 || [408, 429].includes(answer.status)) return false; // it waits, as when nobody answered
    } catch { return false; }
    wait(waitingBut(tap.id));
    return true;
  };
  // The same ids again: what had arrived all the same counts once. After one that fails, no more until the next page,
  // where it is the last: nobody is hammered, and none holds up the others.
  const sendAll = async () => {
    for (const one of navigator.onLine ? waiting() : []) {
      if (await send(one)) continue;
      return wait([...waitingBut(one.tap.id), one]);
    }
  };
  addEventListener("online", sendAll);
  sendAll();

  const page = location.origin + location.pathname; // what follows can name a patient or an illness
  const outside = (address) => {
    const from = address && new URL(address);
    return from && from.host !== location.host ? from.origin + from.pathname : "";
  };
  const came = navigator.globalPrivacyControl ? {} : (() => {
    const asked = new URLSearchParams(location.search);
    const utm = ["source", "medium", "campaign", "term", "content"].map((part) => `utm_${part}`);
    const found = Object.fromEntries(utm.map((name) => [name, asked.get(name)?.slice(0, 200)]).filter(([, text]) => text));
    const referrer = outside(document.referrer).slice(0, 200);
    return { ...found, referrer, landing: referrer || found.utm_source ? page.slice(0, 200) : "" };
  })();
  // Of the whole visit, where that is asked for: what led here last and, where it is another, what led here first.
  const visit = (() => {
    if (attribution !== "visit" || navigator.globalPrivacyControl) return came;
    let first, last;
    try { [first, last] = JSON.parse(sessionStorage.getItem("frontdesk_visit")); } catch { /* the first page */ }
    first ??= { ...came, landing: page.slice(0, 200) };
    last = came.landing ? came : last ?? first;
    const both = [first, last].map((touch) => JSON.stringify(touch));
    try { sessionStorage.setItem("frontdesk_visit", `[${both}]`); } catch { /* this page alone */ }
    const began = both[0] === both[1] ? [] : Object.entries(first).map(([name, text]) => [`first_${name}`, text]);
    return { ...last, ...Object.fromEntries(began) };
  })();

  // Asked of the browser's own: a form with a field named `matches` has that in its place.
  const fits = (node, selector) => node instanceof Element && Element.prototype.matches.call(node, selector);

  // As the form is sent, so that one that was not there at first has it too, and one sent by a script.
  document.addEventListener("formdata", ({ target, formData }) => {
    if (!fits(target, `form[action*="/f/${site}/"]`)) return;
    for (const [name, value] of Object.entries({ visitor_id: visitor(), page, ...visit })) {
      if (value && !formData.get(name)) formData.set(name, value);
    }
  });

  const numberOf = (link) => {
    const number = link.pathname || link.getAttribute("href").replace(/^tel:\/*/i, ""); // tel://… has no path
    try { return decodeURIComponent(number); } catch { return number; } // such as tel:50%off
  };
  const labelOf = (link) =>
    [link.textContent, link.getAttribute("aria-label"), link.querySelector("img[alt]")?.alt, link.title]
      .map((text) => text?.trim()).find(Boolean) ?? "";
  const counted = {}; // number → when, by a clock that nobody sets
  document.addEventListener("click", (event) => {
    const { timeStamp } = event;
    // The whole path: the target is only the outermost element where the link stands in a shadow root.
    const link = event.composedPath().find((node) => fits(node, 'a[href^="tel:" i]'));
    const tel = link && numberOf(link);
    if (!link || timeStamp - counted[tel] < A_WHILE) return;
    counted[tel] = timeStamp;
    const tap = {
      site,
      id: newId(),
      visitor_id: visitor(),
      tel,
      label: labelOf(link),
      page,
    };
    wait([...waiting(), { tap, at: Date.now() }]);
    if (navigator.onLine) send({ tap });
  }, true); // before a handler of the page may stop it
})();
