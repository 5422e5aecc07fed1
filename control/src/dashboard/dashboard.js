// Shows what the API tells. All of it becomes text of elements, never markup.
"use strict";

const REFRESH_MS = 5000;
const ASK_TIMEOUT_MS = 10000;
// More would make the page slow; the API has them all.
const ROWS_MAX = 1000;

const byId = (id) => document.getElementById(id);

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = String(text);
  if (kind) made.className = kind;
  return made;
}

async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(ASK_TIMEOUT_MS) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

function proxyRow(proxy, generation) {
  const row = element("tr");
  const name = element("th", proxy.id);
  name.scope = "row";
  row.append(name, element("td", proxy.identity || "not proven"), element("td", proxy.version));
  const behind = generation - proxy.acknowledged;
  row.append(
    behind > 0
      ? element("td", `${proxy.acknowledged}, ${behind} behind`, "bad")
      : element("td", proxy.acknowledged, "good"),
  );
  const lag = proxy.lagMilliseconds;
  row.append(element("td", lag === null ? "–" : `${lag} ms`));
  for (const number of [proxy.resources, proxy.endpoints, proxy.demands]) {
    row.append(element("td", number));
  }
  const rejected = proxy.report.rejected.length;
  row.append(element("td", rejected, rejected > 0 ? "bad" : undefined));
  return row;
}

function state(resource) {
  if (resource.accepted) return "in use";
  return resource.version === null ? "refused" : "refused; its last good form is in use";
}

function trouble(resource) {
  const item = element("li");
  item.append(element("p", `${resource.name}: ${state(resource)}`, "name"));
  for (const line of [...(resource.reasons ?? []), ...(resource.conflicts ?? [])]) {
    item.append(element("p", line));
  }
  for (const remark of resource.rejected ?? []) {
    item.append(element("p", `${remark.name} cannot use it: ${remark.message}`));
  }
  return item;
}

function kindRow([kind, number]) {
  const row = element("tr");
  const name = element("th", kind);
  name.scope = "row";
  row.append(name, element("td", number));
  return row;
}

function show(proxies, resources) {
  byId("proxies").replaceChildren(
    ...proxies.proxies.slice(0, ROWS_MAX).map((it) => proxyRow(it, proxies.generation)),
  );
  const inTrouble = resources.resources.slice(0, ROWS_MAX).map(trouble);
  byId("trouble").replaceChildren(...inTrouble);
  byId("no-trouble").hidden = inTrouble.length > 0;
  byId("kinds").replaceChildren(...Object.entries(resources.counts).map(kindRow));
  return [
    `replica ${proxies.replica}`,
    `generation ${proxies.generation}`,
    `${proxies.proxies.length} connected`,
    `${resources.resources.length} in trouble`,
  ].join(", ");
}

async function refresh() {
  let summary;
  try {
    const [proxies, resources] = await Promise.all([
      ask("api/proxies"),
      ask("api/resources?trouble"),
    ]);
    summary = show(proxies, resources);
  } catch (error) {
    summary = `no answer (${error.message}); what is shown is old`;
  }
  // What did not change is not read out again.
  if (byId("summary").textContent !== summary) byId("summary").textContent = summary;
}

async function keepOn() {
  if (byId("refresh").checked && !document.hidden) await refresh();
  setTimeout(keepOn, REFRESH_MS);
}

refresh().then(() => setTimeout(keepOn, REFRESH_MS));
