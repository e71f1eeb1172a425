"use strict";
(() => {
  const world = JSON.parse(document.getElementById("world").textContent);
  const $ = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const DRAWN = 14;
  const WRITTEN = 12;

  const make = (name, attributes = {}, ...children) => {
    const element = attributes.xmlns ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key !== "xmlns") element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
  };
  const draw = (name, attributes, ...children) => make(name, { ...attributes, xmlns: true }, ...children);

  const cells = new Map(world.cells.map((cell) => [JSON.stringify([cell.from, cell.to]), cell]));
  const between = (from, to) => cells.get(JSON.stringify([from.name, to.name]));
  const group = (end) => (end.kind === "endpoint" ? end.namespace : "not policed");
  const short = (end) => {
    const prefix = end.kind === "endpoint" ? end.namespace + "/" : "";
    return end.name.startsWith(prefix) ? end.name.slice(prefix.length) : end.name;
  };

  const services = [...new Set(world.cells.flatMap((cell) => cell.answers.map((answer) => answer.service)))];
  services.sort((a, b) => parseInt(a, 10) - parseInt(b, 10) || (a < b ? -1 : 1));
  for (const service of services.filter((service) => service !== "any")) {
    $("port").append(make("option", { value: service }, service));
  }

  const known = (end) => {
    const labels = Object.entries(end.labels || {}).map(([key, value]) => key + "=" + value);
    const parts = [...end.addresses, end.network && "network " + end.network, end.namespace && "namespace " + end.namespace];
    return [...parts.filter(Boolean), ...labels].join(", ");
  };
  // How a command names an end.
  const named = (end, answer) => {
    if (end.kind !== "outside") return end.name;
    return end.addresses.find((address) => address.includes(":") === (answer.families[0] === 6)) || end.name;
  };
  const matches = (end, wanted) => {
    const text = (end.name + " " + known(end)).toLowerCase();
    return wanted.toLowerCase().split(/\s+/).every((word) => text.includes(word));
  };
  const asked = (cell) => {
    const port = $("port").value;
    return cell.answers.filter((answer) => !port || answer.service === port || answer.service === "any");
  };
  const written = (answer, cell) => {
    const isSplit = cell.answers.filter((other) => other.service === answer.service).length > 1;
    return answer.service + (isSplit ? " IPv" + answer.families[0] : "");
  };
  // What a pair comes to: one of the legend's signs, and the ports.
  const state = (cell) => {
    if (!cell || !cell.answers.length) return { kind: "", sign: "", text: "" };
    if (cell.from === cell.to) return { kind: "itself", sign: "", text: "" };
    const answers = asked(cell);
    const through = answers.filter((answer) => answer.reachable);
    const allowed = answers.filter((answer) => answer.allowed);
    const list = (answers) => answers.map((answer) => written(answer, cell)).join("\n");
    if (!answers.length) return { kind: "", sign: "", text: "" };
    if (through.length === answers.length) return { kind: "all", sign: "●", text: list(through) };
    if (through.length) return { kind: "some", sign: "◐", text: list(through) };
    if (allowed.length) return { kind: "away", sign: "○", text: "○" };
    return { kind: "none", sign: "·", text: "·" };
  };
  const said = { all: "reaches it", some: "reaches some ports", none: "denied by policy", away: "allowed, but no way leads there", itself: "itself", "": "not asked" };

  let kept = null;
  let shown = [];

  const mark = (cell) => {
    for (const element of document.querySelectorAll(".at")) element.classList.remove("at");
    const svg = document.querySelector("svg");
    if (svg) svg.classList.remove("asked");
    if (!cell) return;
    for (const element of document.querySelectorAll("[data-from], [data-to]")) {
      const { from, to } = element.dataset;
      const isHeader = element.tagName === "TH";
      const hits = isHeader ? from === cell.from || to === cell.to : from === cell.from && to === cell.to;
      if (!hits) continue;
      element.classList.add("at");
      if (svg && svg.contains(element)) svg.classList.add("asked");
    }
  };

  const tell = (cell) => {
    const panel = $("details");
    panel.classList.toggle("kept", kept === cell && Boolean(cell));
    mark(cell);
    if (!cell) {
      panel.replaceChildren(make("p", {}, "Point at a cell, or move with the arrow keys. Click or press Enter to keep it, Escape to let go."));
      return;
    }
    const [from, to] = [cell.from, cell.to].map((name) => world.ends.find((end) => end.name === name));
    const parts = [make("h2", {}, cell.from + " → " + cell.to)];
    for (const end of new Set([from, to])) parts.push(make("p", { class: "known" }, end.name + ": " + known(end)));
    if (cell.from === cell.to) parts.push(make("p", {}, "An endpoint reaches itself, whatever policies say."));
    else {
      for (const answer of asked(cell)) {
        const verdict = answer.reachable ? "allowed" : answer.allowed ? "allowed by policy, but it does not get there" : "denied";
        const kind = answer.reachable ? "all" : answer.allowed ? "away" : "denied";
        const title = make("h3", {}, written(answer, cell) + ": ");
        title.append(make("span", { class: kind }, verdict));
        const list = make("dl", {});
        list.append(make("dt", {}, "what " + cell.from + " may send"), make("dd", {}, world.texts[answer.egress]));
        list.append(make("dt", {}, "what " + cell.to + " may receive"), make("dd", {}, world.texts[answer.ingress]));
        if (answer.note !== undefined) list.append(make("dt", {}, "apart from policies"), make("dd", {}, world.texts[answer.note]));
        parts.push(title, list);
        if (!answer.allowed) {
          const port = /^[0-9]/.test(answer.service) ? " --port " + answer.service : "";
          const command = "netfast policy explain --from " + named(from, answer) + " --to " + named(to, answer) + port;
          parts.push(make("p", { class: "hint" }, "What its rules allow instead: ", make("code", {}, command)));
        }
      }
    }
    panel.replaceChildren(...parts);
  };

  const keep = (cell) => {
    kept = kept === cell ? null : cell;
    tell(cell);
  };

  const table = (rows, columns) => {
    const isWritten = Math.max(rows.length, columns.length) <= WRITTEN;
    const body = make("tbody", {});
    const head = make("thead", {});
    const groups = make("tr", { class: "groups" }, make("th", { class: "corner" }));
    const names = make("tr", { class: "names" }, make("th", { class: "corner", scope: "col" }, "from ↓  to →"));
    let before = null;
    for (const end of columns) {
      const isFirst = group(end) !== before;
      if (isFirst) {
        const span = columns.filter((other) => group(other) === group(end)).length;
        groups.append(make("th", { colspan: span, class: "edge-left", title: group(end) }, group(end)));
      }
      before = group(end);
      names.append(make("th", { scope: "col", "data-to": end.name, title: known(end), class: isFirst ? "edge-left" : "" }, make("span", {}, short(end))));
    }
    head.append(groups, names);
    shown = [];
    before = null;
    for (const from of rows) {
      if (group(from) !== before) {
        body.append(make("tr", { class: "group" }, make("th", { scope: "rowgroup" }, group(from)), make("td", { colspan: columns.length })));
      }
      before = group(from);
      const row = make("tr", {}, make("th", { scope: "row", "data-from": from.name, title: known(from) }, short(from)));
      const line = [];
      let last = null;
      for (const to of columns) {
        const cell = between(from, to);
        const { kind, sign, text } = state(cell);
        const label = from.name + " to " + to.name + ": " + said[kind] + (kind === "all" || kind === "some" ? ": " + text.replaceAll("\n", ", ") : "");
        const element = make("td", { class: ["cell", kind, group(to) === last ? "" : "edge-left"].join(" "), role: "gridcell", tabindex: "-1", "aria-label": label, "data-from": from.name, "data-to": to.name }, isWritten ? text : sign);
        last = group(to);
        line.push({ element, cell });
        row.append(element);
      }
      shown.push(line);
      body.append(row);
    }
    const longest = Math.max(...columns.map((end) => short(end).length), 4);
    const grid = make("table", { role: "grid", class: isWritten ? "ports" : "signs", style: "--tall: " + Math.min(longest * 0.62 + 1, 14) + "rem" }, head, body);
    return grid;
  };

  // Where a line from the middle of a box leaves the box.
  const border = (box, dx, dy) => {
    const scale = Math.min(Math.abs(box.width / 2 / (dx || 1e-6)), Math.abs(box.height / 2 / (dy || 1e-6)));
    return { x: box.x + dx * scale, y: box.y + dy * scale };
  };

  const picture = (ends) => {
    const width = 900;
    const height = Math.max(360, Math.min(680, ends.length * 62));
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" }, draw("title", {}, "Who reaches whom"));
    const marker = (kind) =>
      draw("marker", { id: "head-" + kind, viewBox: "0 0 10 10", refX: 9, refY: 5, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto" },
        draw("path", { d: "M0,0 L10,5 L0,10 z", class: "head " + kind }));
    svg.append(draw("defs", {}, marker("all"), marker("some")));
    const boxes = new Map(ends.map((end, index) => {
      const angle = (index / ends.length) * 2 * Math.PI - Math.PI / 2;
      const name = short(end);
      return [end.name, {
        x: width / 2 + Math.cos(angle) * (width / 2 - 110),
        y: height / 2 + Math.sin(angle) * (height / 2 - 46),
        width: Math.max(70, Math.min(name.length, 20) * 8.4 + 24),
        height: 44,
      }];
    }));
    const labels = draw("g", {});
    for (const from of ends) {
      for (const to of ends) {
        const cell = between(from, to);
        const { kind, text } = state(cell);
        if (kind !== "all" && kind !== "some") continue;
        const [a, b] = [boxes.get(from.name), boxes.get(to.name)];
        const [dx, dy] = [b.x - a.x, b.y - a.y];
        const length = Math.hypot(dx, dy) || 1;
        // There and back are two lines, each bent to its right.
        const bend = { x: (a.x + b.x) / 2 - (dy / length) * 26, y: (a.y + b.y) / 2 + (dx / length) * 26 };
        const start = border(a, bend.x - a.x, bend.y - a.y);
        const end = border(b, bend.x - b.x, bend.y - b.y);
        const way = draw("path", { d: `M${start.x},${start.y} Q${bend.x},${bend.y} ${end.x},${end.y}`, class: "way " + kind, "marker-end": `url(#head-${kind})`, "data-from": from.name, "data-to": to.name },
          draw("title", {}, from.name + " → " + to.name + ": " + text.replaceAll("\n", ", ")));
        svg.append(way);
        if (text !== "any" && ends.length <= 8) {
          const at = { x: start.x * 0.3 + bend.x * 0.4 + end.x * 0.3, y: start.y * 0.3 + bend.y * 0.4 + end.y * 0.3 };
          labels.append(draw("text", { x: at.x, y: at.y + 4, class: "port" }, text.replaceAll("\n", ", ")));
        }
      }
    }
    svg.append(labels);
    for (const end of ends) {
      const box = boxes.get(end.name);
      const name = short(end);
      svg.append(draw("g", {},
        draw("rect", { x: box.x - box.width / 2, y: box.y - box.height / 2, width: box.width, height: box.height, rx: 8, class: "node" }),
        draw("text", { x: box.x, y: box.y + (end.kind === "endpoint" ? 0 : 5), "text-anchor": "middle" }, name.length > 20 ? name.slice(0, 19) + "…" : name),
        ...(end.kind === "endpoint" ? [draw("text", { x: box.x, y: box.y + 15, "text-anchor": "middle", class: "namespace" }, group(end))] : []),
        draw("title", {}, end.name + ": " + known(end))));
    }
    return svg;
  };

  const render = () => {
    const rows = world.ends.filter((end) => matches(end, $("from").value.trim()));
    const columns = world.ends.filter((end) => matches(end, $("to").value.trim()));
    if (!rows.length || !columns.length) {
      shown = [];
      $("matrix").replaceChildren(make("p", { class: "empty" }, "Nobody is called so."));
      $("picture").replaceChildren();
      return tell(null);
    }
    $("matrix").replaceChildren(table(rows, columns));
    const first = shown[0] && shown[0][0];
    if (first) first.element.tabIndex = 0;
    const drawn = world.ends.filter((end) => rows.includes(end) || columns.includes(end));
    $("picture").replaceChildren(...(drawn.length <= DRAWN ? [picture(drawn)] : []));
    kept = null;
    tell(null);
  };

  const found = (target) => {
    const element = target.closest("td.cell");
    for (const [row, line] of shown.entries()) {
      const column = line.findIndex((entry) => entry.element === element);
      if (column >= 0) return { row, column, ...line[column] };
    }
    return null;
  };
  const go = (row, column) => {
    const target = shown[row] && shown[row][column];
    if (!target) return;
    for (const line of shown) for (const { element } of line) element.tabIndex = -1;
    target.element.tabIndex = 0;
    target.element.focus();
  };

  const matrix = $("matrix");
  const over = (event) => {
    const at = found(event.target);
    if (at && !kept) tell(at.cell || null);
  };
  matrix.addEventListener("mouseover", over);
  matrix.addEventListener("focusin", over);
  matrix.addEventListener("mouseleave", () => kept || tell(null));
  matrix.addEventListener("click", (event) => {
    const at = found(event.target);
    if (at && at.cell) keep(at.cell);
  });
  matrix.addEventListener("keydown", (event) => {
    const at = found(event.target);
    if (!at) return;
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const last = shown[at.row].length - 1;
    if (moves[event.key]) go(at.row + moves[event.key][0], at.column + moves[event.key][1]);
    else if (event.key === "Home") go(event.ctrlKey ? 0 : at.row, 0);
    else if (event.key === "End") go(event.ctrlKey ? shown.length - 1 : at.row, last);
    else if (event.key === "Enter" || event.key === " ") at.cell && keep(at.cell);
    else return;
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !kept) return;
    kept = null;
    tell(null);
  });
  for (const id of ["from", "to", "port"]) $(id).addEventListener("input", render);
  $("filter").addEventListener("submit", (event) => event.preventDefault());

  const endpoints = world.ends.filter((end) => end.kind === "endpoint").length;
  const outside = world.ends.filter((end) => end.kind === "outside" && end.addresses.length);
  const stands = outside.map((end) => end.name + (end.name === "outside" ? " stands for the world by " + end.addresses.join(" and ") : " is an address outside"));
  $("summary").textContent = endpoints + (endpoints === 1 ? " endpoint" : " endpoints") + "; rows send, columns receive" + (stands.length ? "; " + stands.join("; ") : "") + ".";
  render();
})();
