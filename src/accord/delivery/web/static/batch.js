// Shows a batch's progress as it comes, and loads the page anew at the end.
(() => {
  const live = document.getElementById("live");
  if (!live || !window.EventSource) return;

  const WIDTH = 1000; // of the bar
  const NARROWEST = 3; // of a segment that is to be seen
  const PAUSE = 5000; // milliseconds between two looks at the lists
  const bar = live.querySelector(".bar");
  const byId = (id) => document.getElementById(id);
  const grouped = (number) => number.toLocaleString("en-US");
  const sum = (numbers) => numbers.reduce((one, other) => one + other, 0);
  let looked = Date.now();
  let looking = false;

  function span(time) {
    const left = Math.max(1, Math.round(time));
    const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
    for (let n = 0; n + 1 < units.length; n++) {
      const [[length, unit], [finer, part]] = [units[n], units[n + 1]];
      const rest = Math.floor((left % length) / finer);
      if (left >= length) return `${Math.floor(left / length)} ${unit}${rest ? ` ${rest} ${part}` : ""}`;
    }
    return `${left} s`;
  }

  function rate(perSecond) {
    const slow = perSecond > 0 && perSecond < 0.1;
    const number = slow ? perSecond * 60 : perSecond;
    const shown = number >= 100 ? grouped(Math.round(number)) : String(Number(number.toPrecision(3)));
    return `${shown} tasks/${slow ? "min" : "s"}`;
  }

  function drawBar(batch) {
    const parts = [...bar.children];
    const counts = parts.map((part) => sum(part.dataset.statuses.split(" ").map((status) => batch.counts[status] || 0)));
    const widths = counts.map((count) => (count ? Math.max(NARROWEST, Math.round((WIDTH * count) / batch.total)) : 0));
    widths[widths.indexOf(Math.max(...widths))] -= Math.max(0, sum(widths) - WIDTH);
    let start = 0;
    parts.forEach((part, n) => {
      part.setAttribute("x", start);
      part.setAttribute("width", widths[n]);
      start += widths[n];
    });
    tell(batch, parts.map((part) => part.getAttribute("class").replace("bar-", "")), counts);
  }

  function tell(batch, kinds, counts) {
    const ended = sum(counts.filter((_, n) => kinds[n] !== "running"));
    const told = [`${grouped(ended)} of ${grouped(batch.total)} tasks done`];
    kinds.forEach((kind, n) => {
      if (counts[n] && kind !== "success") told.push(`${grouped(counts[n])} ${kind}`);
    });
    bar.setAttribute("aria-valuenow", ended);
    bar.setAttribute("aria-valuemax", batch.total);
    bar.setAttribute("aria-valuetext", told.join(", "));
  }

  function drawNumbers(batch) {
    for (const item of live.querySelectorAll("[data-status]")) number(item, batch.counts[item.dataset.status] || 0);
    number(byId("to-generate"), batch.to_generate);
    byId("why").textContent = batch.explanation;
    byId("status").firstElementChild.textContent = batch.status;
    byId("rate").textContent = rate(batch.rate);
    byId("eta-part").hidden = batch.eta === null;
    if (batch.eta !== null) byId("eta").textContent = span(batch.eta);
  }

  function number(item, count) {
    item.hidden = !count;
    item.querySelector("[data-number]").textContent = grouped(count);
  }

  // The lists come from the page itself, so that there is one way in which they are drawn.
  async function look() {
    if (looking || document.hidden || Date.now() - looked < PAUSE) return;
    looking = true;
    try {
      const answer = await fetch(window.location.href);
      if (answer.ok) refresh(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      // The stream tells sooner or later whether the site is there; then this is tried again.
    } finally {
      looking = false;
      looked = Date.now();
    }
  }

  function refresh(page) {
    for (const part of document.querySelectorAll("[data-fresh]")) {
      const fresh = page.getElementById(part.id);
      // Whoever has the keyboard in a list keeps it as it is.
      if (fresh && !part.contains(document.activeElement) && part.innerHTML !== fresh.innerHTML) part.replaceWith(fresh);
    }
  }

  const source = new EventSource(live.dataset.events);
  source.addEventListener("state", (event) => {
    const batch = JSON.parse(event.data);
    drawBar(batch);
    drawNumbers(batch);
    look();
  });
  source.addEventListener("done", () => {
    source.close();
    window.location.reload();
  });
})();
