"use strict";
// Draws #data's maps: small multiples, a large one of the map that was clicked, and its text, coloured by the row under the pointer.
const COLOUR = [[76, 123, 217], [224, 138, 46]];
const number = (group, q) => group.signed ? q / 127.5 - 1 : (q / 255) ** 2;
const shade = (group, q) => group.signed ? Math.abs(q / 127.5 - 1) : q / 255;
const bytes = map => map.q ??= Uint8Array.from(atob(map.d), c => c.charCodeAt(0));

function paint(canvas, group, map) {
  const n = group.labels.length, image = new ImageData(n, n), q = bytes(map);
  for (let i = 0; i < n * n; i++) {
    const rgb = COLOUR[group.signed && q[i] < 127.5 ? 1 : 0];
    image.data.set([...rgb, Math.round(255 * shade(group, q[i]))], 4 * i);
  }
  canvas.width = canvas.height = n;
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function place(canvas, group, e) {
  const box = canvas.getBoundingClientRect(), n = group.labels.length;
  const at = (value, size) => Math.max(0, Math.min(n - 1, Math.floor(value / size * n)));
  return [at(e.clientY - box.top, box.height), at(e.clientX - box.left, box.width)];
}

const element = (name, attributes, parent) => {
  const made = Object.assign(document.createElement(name), attributes);
  parent?.appendChild(made);
  return made;
};

// The large map with its tokens on both axes: as many of them as there is room for, the same on both.
function withAxes(group, parent) {
  const n = group.labels.length, axes = element("div", { className: "axes" }, parent);
  element("b", { className: "row-title", textContent: `row: ${group.rows}` }, axes);
  const left = element("div", { className: "left" }, axes), canvas = element("canvas", {}, axes);
  const below = element("div", { className: "below" }, axes);
  element("b", { className: "column-title", textContent: `column: ${group.columns}` }, axes);
  const shown = group.labels.map(label => visible(label.trim() ? label.trimEnd() : label).replace(/\n/g, "").replace(/ /g, "\u00b7"));
  axes.style.setProperty("--room", `calc(${Math.min(12, Math.max(...shown.map(label => label.length)))}ch + 10px)`);
  let step = 0;
  new ResizeObserver(() => {
    const wanted = Math.max(1, Math.ceil(n * 12 / Math.max(canvas.clientWidth, 1)));
    if (wanted === step) return;
    step = wanted;
    left.replaceChildren();
    below.replaceChildren();
    for (let i = 0; i < n; i += step)
      for (const [side, edge] of [[left, "top"], [below, "left"]]) {
        const label = element("span", { textContent: shown[i] }, side);
        label.style[edge] = `${100 * (i + 0.5) / n}%`;
      }
  }).observe(canvas);
  return canvas;
}

for (const box of document.querySelectorAll(".maps")) {
  const group = data.maps[box.dataset.maps], n = group.labels.length;
  const detail = element("div", { className: "detail" }, box);
  const large = element("div", { className: "large" }, detail);
  const title = element("h3", {}, large), big = withAxes(group, large);
  const text = element("div", { className: "tokens reading" }, detail);
  const cells = group.labels.map((label, k) => {
    const cell = element("i", { textContent: visible(label) }, text);
    cell.dataset.place = k;
    return cell;
  });
  let current = null;

  function row(map, i) {
    cells.forEach((cell, j) => {
      const q = bytes(map)[i * n + j], rgb = COLOUR[group.signed && q < 127.5 ? 1 : 0];
      cell.style.background = `rgba(${rgb},${(0.85 * shade(group, q)).toFixed(3)})`;
      cell.classList.toggle("here", j === i);
    });
  }
  function choose(map, figure) {
    current = map;
    box.querySelectorAll("figure.chosen").forEach(f => f.classList.remove("chosen"));
    figure.classList.add("chosen");
    title.textContent = map.t;
    paint(big, group, map);
    row(map, n - 1);
  }
  const words = (map, i, j) => `${map.t}\n${quoted(group.labels[i])} (${i}) ${group.verb} ${quoted(group.labels[j])} (${j})   ${number(group, bytes(map)[i * n + j]).toFixed(3)}`;
  const watch = (canvas, which) => {
    const move = e => {
      const [i, j] = place(canvas, group, e);
      canvas.tip = words(which(), i, j);
      row(which(), i);
    };
    canvas.addEventListener("pointermove", move);
    canvas.addEventListener("pointerdown", move);
    canvas.classList.add("tipped");
  };
  watch(big, () => current);
  text.addEventListener("pointerover", e => e.target.dataset.place && row(current, Number(e.target.dataset.place)));

  let line = null, name = null, first = null;
  const alone = group.maps.length === 1;
  if (alone) { large.classList.add("alone"); choose(group.maps[0], large); }
  for (const map of alone ? [] : group.maps) {
    if (map.g !== name) {
      name = map.g;
      element("h3", { textContent: name }, box);
      line = element("div", { className: "multiples" }, box);
    }
    const figure = element("figure", {}, line), canvas = element("canvas", {}, figure);
    element("figcaption", { textContent: map.t.replace(`${map.g}, `, "") }, figure);
    paint(canvas, group, map);
    watch(canvas, () => map);
    figure.addEventListener("click", () => choose(map, figure));
    first ??= () => choose(map, figure);
  }
  first?.();
}
