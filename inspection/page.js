"use strict";
// Draws runs of tokens from the numbers in #data, each when it comes into view.
const data = JSON.parse(document.getElementById("data").textContent);
const specials = new Set(data.specials), AT_ONCE = 100;
const tip = document.body.appendChild(Object.assign(document.createElement("div"), { id: "tip" }));
const text = id => data.texts[id] ?? "?";
const visible = s => s.replace(/\n/g, "\u23ce\n").replace(/\t/g, "\u21e5").replace(/\r/g, "\u240d")
  .replace(/[\0-\x08\x0b\x0c\x0e-\x1f]/g, c => String.fromCharCode(0x2400 + c.charCodeAt(0)));
const quoted = s => JSON.stringify(s);

function token(run, k) {
  const id = run.i[k], target = run.y ? run.y[k] : null, e = document.createElement("i");
  const document_ = run.d ? run.d[k] : 0;
  e.className = "c" + (run.d ? (document_ % 3) * 2 + k % 2 : k % 6);
  const weight = run.w ? run.w[k] : target === -100 ? 0 : 1;
  if (run.y && (target === -100 || weight === 0)) e.classList.add("off");
  if (k < (run.a || 0)) e.classList.add("again");
  if (specials.has(id)) e.classList.add("special");
  e.textContent = visible(text(id));
  if (run.y) {
    const b = document.createElement("b");
    b.textContent = target === -100 ? "\u00b7" : visible(text(target)).replace(/\n/g, "");
    b.className = "target";
    e.appendChild(b);
  }
  e.tip = `id ${id}  ${quoted(text(id))}   place ${k}` + (run.d ? `   document ${document_}` : "") +
    (run.y ? "\n" + (target === -100 ? "no target: no loss here" : `target ${target}  ${quoted(text(target))}   weight ${weight}`) : "") +
    (k < (run.a || 0) ? "\nalso in the window before" : "");
  return e;
}

function draw(box, run) {
  if (box.drawn) return;
  box.drawn = true;
  const out = document.createDocumentFragment();
  run.i.forEach((_, k) => {
    if (run.d && k && run.d[k] !== run.d[k - 1])
      out.appendChild(Object.assign(document.createElement("span"), { className: "border", textContent: `document ${run.d[k]}` }));
    out.appendChild(token(run, k));
  });
  box.appendChild(out);
}

const seen = new IntersectionObserver(entries => entries.forEach(e => {
  if (e.isIntersecting && e.target.parentElement.open) { draw(e.target, e.target.run); seen.unobserve(e.target); }
}), { rootMargin: "600px" });

function addRuns(box, runs, from, folded) {
  for (const run of runs.slice(from, from + AT_ONCE)) {
    const details = document.createElement("details"), summary = document.createElement("summary"), tokens = document.createElement("div");
    details.className = "run"; tokens.className = "tokens"; tokens.run = run;
    const start = folded ? "  " + visible(run.i.slice(0, 24).map(text).join("")).replace(/\s+/g, " ").slice(0, 90) : "";
    summary.textContent = run.t + start;
    details.append(summary, tokens);
    details.open = !folded || box.children.length === 0;
    details.addEventListener("toggle", () => details.open && draw(tokens, run));
    box.appendChild(details);
    seen.observe(tokens);
  }
  const left = runs.length - from - AT_ONCE;
  if (left > 0) {
    const more = Object.assign(document.createElement("button"), { className: "more", textContent: `${left.toLocaleString("en")} more` });
    more.addEventListener("click", () => { more.remove(); addRuns(box, runs, from + AT_ONCE, folded); });
    box.appendChild(more);
  }
}

for (const box of document.querySelectorAll(".runs")) {
  const runs = data.groups[box.dataset.group], folded = box.dataset.folded === "1";
  if (runs.some(run => run.y)) {
    const label = Object.assign(document.createElement("label"), { className: "switch", innerHTML: '<input type="checkbox"> show each target below its token' });
    label.firstChild.addEventListener("change", e => box.classList.toggle("targets", e.target.checked));
    box.before(label);
  }
  addRuns(box, runs, 0, folded);
}

document.addEventListener("mousemove", e => {
  const over = e.target.closest ? e.target.closest(".runs .tokens i, .tipped") : null;
  tip.style.display = over?.tip ? "block" : "none";
  if (!over?.tip) return;
  tip.textContent = over.tip;
  tip.style.left = Math.max(4, Math.min(e.clientX + 14, innerWidth - tip.offsetWidth - 8)) + "px";
  tip.style.top = (e.clientY + 20 + tip.offsetHeight > innerHeight ? e.clientY - tip.offsetHeight - 12 : e.clientY + 20) + "px";
});
