"use strict";
/* The strain explorer: a slider for each lattice parameter, and what the model says of the lattice. */

(() => {
  const surrogate = new Surrogate(JSON.parse(document.getElementById("model").textContent));
  const { names, reference, slider_low, slider_high, colours, atoms } = surrogate;
  const d = surrogate.images[0].length;
  const panel = document.getElementById("panel");
  const unit = (name) => (name in GREEK ? "°" : "Å");
  const zero = surrogate.predict(metricOf(reference))[0].value;
  const minus = (text) => text.replace("-", "−");
  const show = (id, text, value) => {
    const element = document.getElementById(`explorer-${id}`);
    element.textContent = minus(text);
    if (value !== undefined) element.dataset.value = value;
  };
  /* Decimals that show two digits of a standard deviation, and no more than there is use for. */
  const decimals = (std) => Math.min(6, Math.max(0, 1 - Math.floor(Math.log10(std))));
  const parameters = [...reference];
  let moved = 0;
  let line = null;
  let waiting = false;

  /* Voigt strains in the plane or space of the lattice: which two axes, by name. */
  const strains = [[["xx", 0, 0]], [["xx", 0, 0], ["yy", 1, 1], ["xy", 0, 1]],
    [["xx", 0, 0], ["yy", 1, 1], ["zz", 2, 2], ["yz", 1, 2], ["xz", 0, 2], ["xy", 0, 1]]][d - 1];
  /* dG/dε = 2 C e Cᵀ */
  const directions = (C) => strains.map(([, i, j]) => C.map((v) => C.map((w) => v[i] * w[j] + v[j] * w[i])));
  const stressUnit = [["nN", 1.602176634], ["N/m", 16.02176634], ["GPa", 160.2176634]][d - 1];
  const sizeUnit = ["Å", "Å²", "Å³"][d - 1];

  function sliders() {
    const box = document.getElementById("explorer-sliders");
    names.forEach((name, i) => {
      const label = document.createElement("label");
      const [low, high] = [slider_low[i].toFixed(4), slider_high[i].toFixed(4)];
      label.innerHTML = `<span><i>${GREEK[name] ?? name}</i> (${unit(name)})</span>
        <input type="range" id="slider-${name}" min="${low}" max="${high}" step="any" aria-label="${name}">
        <input type="number" id="number-${name}" step="${name in GREEK ? 0.1 : 0.01}" aria-label="${name}, number">`;
      for (const input of label.querySelectorAll("input"))
        input.addEventListener("input", () => {
          if (Number.isFinite(input.valueAsNumber)) move(i, input.valueAsNumber, input);
        });
      box.append(label);
    });
    document.getElementById("explorer-reset").addEventListener("click", () => {
      parameters.splice(0, parameters.length, ...reference);
      line = null;
      update();
    });
  }

  function move(i, value, input) {
    if (moved !== i) line = null;
    moved = i;
    parameters[i] = value;
    if (!waiting) requestAnimationFrame(() => update(input));
    waiting = true;
  }

  function update(typing) {
    waiting = false;
    names.forEach((name, i) => {
      for (const kind of ["slider", "number"]) {
        const input = document.getElementById(`${kind}-${name}`);
        const text = parameters[i].toFixed(name in GREEK ? 2 : 4);
        if (input !== typing) input.value = kind === "slider" ? parameters[i] : text;
      }
    });
    const G = metricOf(parameters);
    const C = standardCell(G);
    const exists = C.flat().every(Number.isFinite) && parameters.every((value) => value > 0);
    panel.classList.toggle("impossible", !exists);
    if (!exists) return show("domain", "There is no lattice with these angles.", "impossible");
    const [energy, ...slopes] = surrogate.predict(G, directions(C));
    const size = C.reduce((volume, row, i) => volume * row[i], 1);
    show("energy", energy.value.toFixed(decimals(energy.std)), energy.value);
    show("uncertainty", (1e3 * energy.std).toFixed(decimals(1e3 * energy.std)), energy.std);
    show("relative", ((energy.value - zero) * 1e3).toFixed(1), energy.value - zero);
    show("size", size.toFixed(3), size);
    const scale = stressUnit[1] / size;
    const cells = slopes.map(({ value, std }, j) => {
      const [shown, error] = [value, std].map((number) => minus((scale * number).toFixed(decimals(scale * std))));
      const text = scale * std < 1e-6 ? "0" : `${shown} <small>± ${error}</small>`;
      return `<td data-value="${value / size}" data-std="${std / size}"><b>${strains[j][0]}</b> ${text}</td>`;
    });
    const rows = [cells.slice(0, 3), cells.slice(3)].map((row) => `<tr>${row.join("")}</tr>`);
    document.getElementById("explorer-stress").innerHTML = rows.join("");
    const outside = surrogate.extrapolation(G);
    panel.classList.toggle("outside", outside !== "");
    show("domain", outside ? `Outside the training domain: ${outside}.` : "Inside the training domain.", outside);
    draw(C);
    plot(energy);
  }

  /* Energy and its uncertainty along the moved parameter, the others as they are. */
  function plot(energy) {
    const name = names[moved];
    const key = parameters.filter((_, i) => i !== moved).join();
    if (line === null || line.key !== key) {
      const step = (slider_high[moved] - slider_low[moved]) / 60;
      line = { key, x: [], y: [], std: [], outside: [] };
      for (let n = 0; n <= 60; n++) {
        const at = [...parameters];
        at[moved] = slider_low[moved] + n * step;
        const G = metricOf(at);
        if (!standardCell(G).flat().every(Number.isFinite)) continue;
        const { value, std } = surrogate.predict(G)[0];
        line.x.push(at[moved]);
        line.y.push(value - zero);
        line.std.push(std);
        line.outside.push(surrogate.extrapolation(G) !== "" ? step / 2 : 0);
      }
    }
    const { x, y, std, outside } = line;
    const plain = { x, mode: "lines", showlegend: false };
    const band = (sign) => ({ ...plain, y: y.map((value, n) => value + 2 * sign * std[n]), line: { width: 0 },
      hoverinfo: "skip", fill: sign > 0 ? "tonexty" : "none", fillcolor: colours.blue + "40" });
    const curve = { ...plain, line: { color: colours.blue, width: 2 } };
    const here = { ...plain, x: [parameters[moved]], mode: "markers", marker: { color: colours.orange, size: 11 } };
    const traces = [band(-1), band(1), { ...curve, y, name: "energy" },
      { ...here, y: [energy.value - zero], name: "here" },
      { ...curve, y: std.map((s) => 1e3 * s), yaxis: "y2", name: "uncertainty" },
      { ...here, y: [1e3 * energy.std], yaxis: "y2", name: "here" }];
    const shapes = x.flatMap((value, n) => outside[n] ? [{ type: "rect", x0: value - outside[n], x1: value + outside[n],
      y0: 0, y1: 1, yref: "paper", fillcolor: colours.grey, opacity: 0.15, line: { width: 0 }, layer: "below" }] : []);
    const layout = JSON.parse(JSON.stringify(surrogate.layout));
    layout.xaxis.title.text = name in GREEK ? `lattice angle ${GREEK[name]} (°)` : `lattice length ${name} (Å)`;
    layout.xaxis.range = [slider_low[moved], slider_high[moved]];
    Plotly.react("explorer-plot", traces, { ...layout, shapes }, { displaylogo: false, responsive: true });
  }

  /* The cell and its atoms in parallel projection, over the reference in grey. */
  function draw(C) {
    const space = (rows) => [0, 1, 2].map((i) => [0, 1, 2].map((j) => rows[i]?.[j] ?? (i === j && i >= d ? 1 : 0)));
    const [azimuth, elevation] = d === 3 ? [-1.15, 0.3] : [-1.15, 0.9];
    const [s, c, S, K] = [Math.sin(azimuth), Math.cos(azimuth), Math.sin(elevation), Math.cos(elevation)];
    const seen = ([x, y, z]) => [-s * x + c * y, c * S * x + s * S * y - K * z, c * K * x + s * K * y + S * z];
    const at = (cell, fractions) => seen(product([fractions], space(cell))[0]);
    const corners = [...Array(2 ** d).keys()].map((n) => [0, 1, 2].map((i) => (n >> i) & 1));
    const edge = (cell, corner, i, style) => {
      const [from, to] = [corner, corner.map((value, j) => (j === i ? 1 : value))].map((end) => at(cell, end));
      return `<line x1="${from[0]}" y1="${from[1]}" x2="${to[0]}" y2="${to[1]}" ${style}/>`;
    };
    const axes = [0, 1, 2].slice(0, d);
    const edges = (cell, style) =>
      corners.flatMap((corner) => axes.filter((i) => !corner[i]).map((i) => edge(cell, corner, i, style))).join("");
    const rest = standardCell(metricOf(reference));
    const all = corners.map((corner) => at(rest, corner));
    const [x, y] = [0, 1].map((i) => all.map((point) => point[i]));
    const middle = [x, y].map((values) => (Math.min(...values) + Math.max(...values)) / 2);
    const half = Math.max(Math.max(...x) - middle[0], Math.max(...y) - middle[1]) * 1.35;
    const spheres = atoms.map((atom) => ({ ...atom, point: at(C, atom.position) }))
      .sort((first, second) => first.point[2] - second.point[2])
      .map(({ point: [cx, cy], colour, radius, symbol }) => `<circle cx="${cx}" cy="${cy}" r="${radius}"
        fill="${colour}" stroke="#444" stroke-width="${0.006 * half}"><title>${symbol}</title></circle>`);
    const svg = document.getElementById("explorer-cell");
    svg.setAttribute("viewBox", `${middle[0] - half} ${middle[1] - half} ${2 * half} ${2 * half}`);
    const dashed = `stroke="${colours.grey}" stroke-width="${0.01 * half}" stroke-dasharray="${0.04 * half}"`;
    const solid = `stroke="${colours.blue}" stroke-width="${0.016 * half}"`;
    svg.innerHTML = edges(rest, dashed) + edges(C, solid) + spheres.join("");
  }

  show("size-unit", sizeUnit);
  show("stress-unit", stressUnit[0]);
  sliders();
  update();
})();
