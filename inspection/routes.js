"use strict";
// Draws #data's routes: the text once for each layer, each token in the colour of its first expert; pointing at an expert dims the others.
for (const box of document.querySelectorAll(".routes")) {
  const routes = data.routes[box.dataset.routes], E = routes.experts;
  const colour = e => `hsla(${Math.round(360 * e / E)} 70% ${e % 2 ? 45 : 60}% / .5)`;
  for (const layer of routes.layers) {
    const part = document.createElement("div"), name = document.createElement("h3"), legend = document.createElement("div"), text = document.createElement("div");
    part.className = "layer"; legend.className = "legend"; text.className = "tokens reading"; name.textContent = `layer ${layer.n}`;
    for (let e = 0; e < E; e++) {
      const key = document.createElement("span");
      key.textContent = `${e}  ${(100 * layer.load[e]).toFixed(1)} %`;
      key.style.background = colour(e);
      key.onpointerover = () => [...text.children].forEach((cell, k) => cell.classList.toggle("dim", !(layer.to[k] || []).some(([x]) => x === e)));
      key.onpointerout = () => [...text.children].forEach(cell => cell.classList.remove("dim"));
      legend.appendChild(key);
    }
    routes.labels.forEach((label, k) => {
      const cell = document.createElement("i"), to = layer.to[k];
      cell.textContent = visible(label);
      cell.className = "tipped";
      if (to.length) cell.style.background = colour(to[0][0]);
      cell.tip = `${quoted(label)}   place ${k}, layer ${layer.n}\n` + (to.map(([e, w]) => `expert ${e}   weight ${w.toFixed(3)}`).join("\n") || "no expert");
      text.appendChild(cell);
    });
    part.append(name, legend, text);
    box.appendChild(part);
  }
}
