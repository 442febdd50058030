// Shows a task's status and output as they come, and loads the page anew at the end.
(() => {
  const live = document.getElementById("live");
  const pane = document.getElementById("live-output");
  const status = document.getElementById("status");
  if (!live || !window.EventSource) return;

  const KEPT = 200000; // characters on the page; the download has all
  const streams = new Map(); // what is known of each stream of the newest run
  let newest = -1;

  function begin(run) {
    newest = run;
    streams.clear();
    pane.textContent = "";
  }

  function stream(name) {
    if (!streams.has(name)) streams.set(name, { seen: 0, decoder: new TextDecoder() });
    return streams.get(name);
  }

  function bytes(piece) {
    if (piece.text !== undefined) return new TextEncoder().encode(piece.text);
    return Uint8Array.from(atob(piece.base64), (c) => c.charCodeAt(0));
  }

  function show(name, text) {
    const span = document.createElement("span");
    span.textContent = text;
    if (name === "stderr") span.className = "from-stderr";
    if (name.startsWith("compile_")) span.className = "from-compiler";
    const atEnd = pane.scrollHeight - pane.scrollTop - pane.clientHeight < 40;
    pane.append(span);
    while (pane.textContent.length > KEPT && pane.childNodes.length > 1) pane.firstChild.remove();
    if (atEnd) pane.scrollTop = pane.scrollHeight;
  }

  async function explain() {
    const answer = await fetch(live.dataset.explain);
    if (answer.ok) document.getElementById("why").textContent = (await answer.json()).explanation;
  }

  const source = new EventSource(live.dataset.events);
  source.addEventListener("output", (event) => {
    const piece = JSON.parse(event.data);
    if (piece.replica < newest) return;
    if (piece.replica > newest) begin(piece.replica);
    const known = stream(piece.stream);
    const skip = known.seen - piece.offset; // what came before a reconnection comes again
    if (skip >= piece.size) return;
    known.seen = piece.offset + piece.size;
    show(piece.stream, known.decoder.decode(bytes(piece).subarray(Math.max(0, skip)), { stream: true }));
  });
  source.addEventListener("state", (event) => {
    const state = JSON.parse(event.data);
    const badge = status.firstElementChild;
    badge.textContent = state.status.replaceAll("_", " ");
    explain();
  });
  source.addEventListener("done", () => {
    source.close();
    window.location.reload();
  });
})();
