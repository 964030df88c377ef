"use strict";

const DELAY = 200; // milliseconds after the last key before a search starts
const state = { collections: [], judgments: false, timer: 0, running: null };

function fill(select, options) {
  select.replaceChildren(...options.map(([value, label]) => make("option", { value }, label)));
}

// Systems: what is searched

function systemsOf(collection) {
  const systems = [["{}", collection.can_rerank ? "all indexes, re-ranked" : "all indexes"]];
  if (collection.can_rerank) systems.push(['{"rerank":false}', "all indexes, not re-ranked"]);
  if (collection.views.length > 1) {
    for (const view of collection.views) systems.push([JSON.stringify({ views: [view], rerank: false }), `${view} only`]);
  }
  return systems;
}

function current() {
  return state.collections.find((one) => one.name === element("collection").value);
}

function chooseCollection() {
  const collection = current();
  if (!collection) return;
  element("size").textContent = `${collection.documents.toLocaleString()} documents`;
  const systems = systemsOf(collection);
  fill(element("system-a"), systems);
  fill(element("system-b"), systems);
  element("system-b").selectedIndex = Math.min(1, systems.length - 1);
  element("fields").textContent = collection.fields.length
    ? `Fields: ${collection.fields.join(", ")}. Example: year >= 2020 and not draft`
    : "The documents have no fields.";
}

// Search

function body(system) {
  return {
    query: element("query").value,
    collection: element("collection").value,
    k: Number(element("k").value),
    filter: element("filter").value.trim() || null,
    ...JSON.parse(system),
  };
}

async function search() {
  state.running?.abort();
  const query = element("query").value;
  const results = element("results");
  if (!query.trim()) {
    results.replaceChildren();
    element("unanswered").hidden = true;
    showStatus("");
    history.replaceState(null, "", location.pathname);
    return;
  }
  const running = new AbortController();
  state.running = running;
  const systems = [element("system-a")];
  if (element("compare").checked) systems.push(element("system-b"));
  try {
    const searches = systems.map((select) => ({ body: body(select.value), title: select.selectedOptions[0].textContent }));
    const answers = await Promise.all(searches.map((one) => request("v1/search", one.body, running.signal)));
    if (state.running !== running) return;
    results.replaceChildren(...answers.map((answer, index) => column(answer, searches[index], searches.length > 1)));
    const [first] = answers;
    element("unanswered").hidden = !first.answer || first.answer.is_likely;
    const counts = answers.map((answer) => `${answer.hits.length} results in ${answer.milliseconds.toFixed(0)} ms`);
    showStatus(counts.join("; "));
    history.replaceState(null, "", `#q=${encodeURIComponent(query)}`);
  } catch (error) {
    if (error.name !== "AbortError" && state.running === running) {
      results.replaceChildren();
      showStatus(error.message, true);
    }
  }
}

function searchSoon() {
  clearTimeout(state.timer);
  state.timer = setTimeout(search, DELAY);
}

// Results

function column(answer, search, isCompared) {
  const items = answer.hits.map((hit, index) => make("li", {}, article(hit, index + 1, search.body)));
  return make("section", { class: "column", "aria-label": `Results of ${search.title}` },
    make("h2", { class: isCompared ? null : "hidden" }, search.title), make("ol", {}, ...items));
}

function article(hit, rank, searched) { // searched: the request whose answer contains the hit
  const title = hit.title || hit.id;
  const parts = Object.entries(hit.parts).map(([name, score]) => `${name} ${score.toFixed(3)}`).join(", ");
  const meta = [`score ${hit.score.toFixed(4)}`, parts && `(${parts})`, hit.source && `from ${hit.source}`, hit.id];
  const why = make("details", { class: "why" }, make("summary", {}, "Why this result"));
  why.addEventListener("toggle", () => explain(why, hit.id, searched));
  return make("article", { tabindex: "0", "data-id": hit.id, "aria-label": `Result ${rank}: ${title}` },
    make("h3", { dir: directionOf(title) }, `${rank}. ${title}`),
    make("p", { dir: directionOf(hit.text) }, ...highlighted(hit.passage)),
    make("p", { class: "meta" }, meta.filter(Boolean).join(" · ")),
    state.judgments ? judging(hit, searched) : null,
    why);
}

function judging(hit, searched) {
  const buttons = [["relevant", 1, "good"], ["not relevant", 0, "bad"]].map(([label, grade, kind]) =>
    make("button", { type: "button", class: kind, "data-grade": grade, "aria-pressed": String(hit.grade === grade),
      onclick: (event) => judge(event.currentTarget, hit, grade, searched) }, label));
  return make("div", { class: "actions", role: "group", "aria-label": "Judge this result" }, ...buttons);
}

async function judge(button, hit, grade, searched) {
  const isUndo = button.getAttribute("aria-pressed") === "true";
  const given = isUndo ? null : grade;
  try {
    await request("v1/judgments", {
      query: searched.query, document: hit.id, grade: given, collection: searched.collection });
    for (const shown of document.querySelectorAll(`article[data-id="${CSS.escape(hit.id)}"] .actions button`)) {
      shown.setAttribute("aria-pressed", String(given !== null && Number(shown.dataset.grade) === given));
    }
    showStatus(isUndo ? "Removed the judgment" : `Judged: ${button.textContent}`);
  } catch (error) {
    showStatus(error.message, true);
  }
}

async function explain(details, id, searched) {
  if (!details.open || details.dataset.explained) return;
  details.querySelector("div")?.remove(); // of an attempt that failed
  const place = make("div", {}, "Loading");
  details.append(place);
  try {
    const answer = await request("v1/search", { ...searched, explain: true });
    details.dataset.explained = "yes";
    const found = answer.hits.find((hit) => hit.id === id);
    place.replaceChildren(found?.explanation ? explanation(found.explanation) : "It is no longer among the results.");
  } catch (error) {
    place.replaceChildren(error.message);
  }
}

function explanation(views) {
  const head = ["index", "score", "rank", "weight", "terms"].map((name) => make("th", { scope: "col" }, name));
  const rows = views.map((view) => {
    const terms = Object.entries(view.terms).map(([term, value]) => `${term} ${value.toFixed(2)}`).join(", ");
    const weight = view.weight === null ? "" : view.weight.toFixed(2);
    return make("tr", {}, make("th", { scope: "row" }, view.name),
      make("td", { class: "number" }, view.score.toFixed(4)), make("td", { class: "number" }, String(view.rank ?? "")),
      make("td", { class: "number" }, weight), make("td", {}, terms || "embeddings have no terms"));
  });
  return make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
}

// Keyboard

function onKey(event) {
  const target = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const isTyping = target.matches("input, select, textarea");
  if (event.key === "/" && !isTyping) {
    event.preventDefault();
    element("query").focus();
    return;
  }
  const articles = [...document.querySelectorAll("article")];
  const at = articles.indexOf(target.closest("article"));
  const isQuery = target === element("query");
  if (["ArrowDown", "ArrowUp"].includes(event.key) && (isQuery || !isTyping)) {
    const next = event.key === "ArrowDown" ? at + 1 : at - 1;
    if (next >= articles.length) return; // let the page scroll
    if (next < 0) element("query").focus();
    else articles[next].focus();
    event.preventDefault();
  } else if (at >= 0 && !isTyping) {
    if (event.key === "w") {
      const details = articles[at].querySelector("details");
      details.open = !details.open;
    } else if (event.key === "+" || event.key === "-") {
      articles[at].querySelector(`[data-grade="${event.key === "+" ? 1 : 0}"]`)?.click();
    }
  }
}

function searchAddress() {
  const given = new URLSearchParams(location.hash.slice(1)).get("q");
  if (given && given !== element("query").value) {
    element("query").value = given;
    search();
  }
}

async function start() {
  startTheme();
  document.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", searchAddress);
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address keeps the query
    element("results").focus();
  });
  element("form").addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(state.timer);
    search();
  });
  element("query").addEventListener("input", searchSoon);
  element("filter").addEventListener("change", search);
  element("collection").addEventListener("change", () => { chooseCollection(); search(); });
  for (const id of ["k", "system-a", "system-b"]) element(id).addEventListener("change", search);
  element("compare").addEventListener("change", () => {
    element("system-b").disabled = !element("compare").checked;
    search();
  });
  try {
    const found = await request("v1/collections");
    Object.assign(state, found);
    if (!state.collections.length) showStatus("The service has no collection to search.");
    fill(element("collection"), state.collections.map((one) => [one.name, one.name]));
    chooseCollection();
    searchAddress();
  } catch (error) {
    showStatus(error.message, true);
  }
}

start();
