// Curves: the fields along a line between two points, and their planar averages. Plotly draws them without WebGL.

const LINE_POINTS = 401;

function lineCurves(view) {
  const step = minus(view.to, view.from), span = length(toCartesian(step, view.lattice));
  const shares = Array.from({ length: LINE_POINTS }, (_, k) => k / (LINE_POINTS - 1));
  return {
    x: shares.map((t) => t * span),
    curves: view.fields.map((field) =>
      shares.map((t) => valueAt(field.values, view.shape, view.from.map((start, axis) => start + t * step[axis])))),
    title: "distance in Å",
    note: "Cubic interpolation between the points of the page's grid. Distances are measured from the start.",
  };
}

function averageCurves(view, axis) {
  const count = view.fullShape["abc".indexOf(axis)];
  const closed = (values) => [...values, values[0]];
  return {
    x: Array.from({ length: count + 1 }, (_, k) => (k / count) * view.periods[axis]),
    curves: view.fields.map((field) => closed(field.averages[axis])),
    title: `height in Å along the normal of the planes that ${axis} crosses`,
    note: `Averages over the planes, from the full grid. The height of the cell is ${view.periods[axis].toFixed(4)} Å.`,
  };
}

function drawCurves(view) {
  const { x, curves, title, note } = view.curveKind === "line" ? lineCurves(view) : averageCurves(view, view.curveKind);
  document.getElementById("curve-note").textContent = note;
  const right = (field) => field.role !== "density" && view.fields[0].role === "density";
  const traces = view.fields.map((field, n) => ({
    type: "scatter", mode: "lines", x, y: curves[n], name: escapeText(field.name), yaxis: right(field) ? "y2" : "y",
    line: right(field) ? { dash: "dot" } : {},
  }));
  const layout = {
    margin: { l: 65, r: 65, t: 10, b: 45 }, xaxis: { title: { text: title } }, legend: { orientation: "h", yanchor: "bottom", y: 1.02 },
    yaxis: { title: { text: "e/Å³" }, zeroline: true },
    yaxis2: { title: { text: "e/Å³ (dotted)" }, overlaying: "y", side: "right", showgrid: false, tickmode: "auto", zeroline: false, visible: view.fields.some(right) },
  };
  return Plotly.react("curves", traces, layout, PLOT_OPTIONS);
}

// plotly reads a subset of HTML in names
const escapeText = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
