// Colours of values: from zero (viridis), or symmetric about zero (blue, white, red); linear or logarithmic.

const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
const BLUE_RED = ["#053061", "#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7", "#fddbc7", "#f4a582", "#d6604d", "#b2182b", "#67001f"];

function colourTable(stops) {
  const rgb = stops.map((stop) => [1, 3, 5].map((k) => parseInt(stop.slice(k, k + 2), 16)));
  const table = new Uint8Array(3 * 256);
  for (let n = 0; n < 256; n++) {
    const x = (n / 255) * (rgb.length - 1), k = Math.min(Math.floor(x), rgb.length - 2);
    for (let c = 0; c < 3; c++) table[3 * n + c] = Math.round(rgb[k][c] + (x - k) * (rgb[k + 1][c] - rgb[k][c]));
  }
  return table;
}
const TABLES = { signed: colourTable(BLUE_RED), positive: colourTable(VIRIDIS) };

function chooseColours(planes, signed, scale) {
  // The map from values to 0 ... 1 and back that shows all values of some planes; the rules are those of `ecd plot`.
  let high = 0, least = Infinity;
  const sizes = [];
  for (const values of planes)
    for (const value of values) {
      const size = Math.abs(value);
      high = Math.max(high, size);
      if (value > 0) least = Math.min(least, value);
      sizes.push(size);
    }
  const typical = sizes.sort((a, b) => a - b)[Math.floor(sizes.length / 2)];
  const log = high > 0 && (scale === "log" || (scale === "auto" && high > 100 * typical));
  high = high || 1; // of planes of zeros
  const clip = (x) => Math.min(1, Math.max(0, x));
  if (signed) {
    const bend = log ? Math.min(Math.max(typical, 1e-9 * high), high / 100) : 0, most = log ? Math.asinh(high / bend) : 1;
    const forward = log ? (v) => clip(0.5 + (0.5 * Math.asinh(v / bend)) / most) : (v) => clip(0.5 + (0.5 * v) / high);
    const back = log ? (t) => bend * Math.sinh((2 * t - 1) * most) : (t) => (2 * t - 1) * high;
    return { forward, back, table: TABLES.signed, log };
  }
  if (!log) return { forward: (v) => clip(v / high), back: (t) => t * high, table: TABLES.positive, log };
  const low = Math.min(Math.max(least / 2, 1e-4 * high), high / 10), decades = Math.log(high / low);
  const forward = (v) => (v <= low ? 0 : clip(Math.log(v / low) / decades));
  return { forward, back: (t) => low * Math.exp(t * decades), table: TABLES.positive, log };
}
