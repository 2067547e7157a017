"use strict";
/* What ase_dkl.model.surrogate does for one lattice, in the same order. A quantity is a list of rows: its value, and then its
   derivative along each direction in which the metric is asked to change. */

const decode = ({ data }) => new Float64Array(Uint8Array.from(atob(data), (c) => c.charCodeAt(0)).buffer);
const dot = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);
const product = (A, B) => A.map((row) => B[0].map((_, j) => row.reduce((sum, a, k) => sum + a * B[k][j], 0)));
const transposed = (A) => A[0].map((_, j) => A.map((row) => row[j]));
const congruent = (W, G) => product(product(W, G), transposed(W));

const GREEK = { alpha: "α", beta: "β", gamma: "γ" };
/* Pairs of axes between which the angles lie, for 1, 2 and 3 periodic axes. */
const ANGLES = [[], [], [[0, 1]], [[1, 2], [0, 2], [0, 1]]];

/* Lattice parameters of a metric: lengths in Å, angles in degrees. */
function latticeParameters(G) {
  const lengths = G.map((row, i) => Math.sqrt(row[i]));
  const angle = ([i, j]) => (Math.acos(G[i][j] / (lengths[i] * lengths[j])) * 180) / Math.PI;
  return [...lengths, ...ANGLES[G.length].map(angle)];
}

/* How they change when the metric changes by dG. */
function latticeParameterTangents(G, dG) {
  const lengths = G.map((row, i) => Math.sqrt(row[i]));
  const stretches = dG.map((row, i) => row[i] / (2 * G[i][i]));
  const angle = ([i, j]) => {
    const cosine = G[i][j] / (lengths[i] * lengths[j]);
    const change = dG[i][j] / (lengths[i] * lengths[j]) - cosine * (stretches[i] + stretches[j]);
    return ((-change / Math.sqrt(1 - cosine ** 2)) * 180) / Math.PI;
  };
  return [...stretches.map((stretch, i) => stretch * lengths[i]), ...ANGLES[G.length].map(angle)];
}

function metricOf(parameters) {
  const d = parameters.length === 6 ? 3 : parameters.length === 3 ? 2 : 1;
  const G = Array.from({ length: d }, (_, i) => Array.from({ length: d }, (_, j) => parameters[i] * parameters[j]));
  ANGLES[d].forEach(([i, j], n) => {
    G[i][j] = G[j][i] = G[i][j] * Math.cos((parameters[d + n] * Math.PI) / 180);
  });
  return G;
}

/* The cell with its first vector along x and its second in the xy plane; NaN where there is no such lattice. */
function standardCell(G) {
  const C = G.map((row) => row.map(() => 0));
  for (let i = 0; i < G.length; i++)
    for (let j = 0; j <= i; j++) {
      const rest = G[i][j] - dot(C[i].slice(0, j), C[j].slice(0, j));
      C[i][j] = i === j ? Math.sqrt(rest) : rest / C[j][j];
    }
  return C;
}

/* The inverse of a symmetric matrix of up to three rows, by its Cholesky factor. */
function inverse(A) {
  const L = standardCell(A);
  const columns = A.map((_, k) => {
    const y = [];
    for (let i = 0; i < A.length; i++) y.push(((i === k) - dot(L[i].slice(0, i), y)) / L[i][i]);
    return y;
  });
  return columns.map((y) => columns.map((z) => dot(y, z)));
}

/* A symmetric matrix as a vector of the same norm. */
const mandel = (A) => A.flatMap((row, i) => row.slice(i).map((value, j) => value * (j ? Math.SQRT2 : 1)));

class Surrogate {
  constructor(model) {
    Object.assign(this, model);
    for (const degree of model.strain?.degrees ?? []) degree.mixing.values = decode(degree.mixing);
    for (const name of ["centre", "scale", "low", "high", "lattices"]) this[name] = decode(model[name]);
    const array = (stored) => ({ shape: stored.shape, values: decode(stored) });
    this.layers = model.layers.map(([weight, bias]) => ({ ...array(weight), bias: decode(bias) }));
    for (const [name, stored] of Object.entries(model.posterior)) this[name] = array(stored);
  }

  /* Scaled lattice parameters of every symmetry image, with tangents: a list of rows for each image. */
  coordinates(G, directions = []) {
    const scaled = (row, centre) => Float64Array.from(row, (x, i) => (x - centre[i]) / this.scale[i]);
    const nought = this.centre.map(() => 0);
    return this.images.map((W) => {
      const image = congruent(W, G);
      const tangents = directions.map((dG) => latticeParameterTangents(image, congruent(W, dG)));
      return [scaled(latticeParameters(image), this.centre), ...tangents.map((row) => scaled(row, nought))];
    });
  }

  /* W h + b for a value, W ḣ for its tangents. */
  affine(layer, network, rows) {
    const { shape: [, inputs, outputs], values, bias } = this.layers[layer];
    const offset = network * inputs * outputs;
    return rows.map((row, r) => {
      const result = r ? new Float64Array(outputs) : bias.slice(network * outputs, (network + 1) * outputs);
      for (let i = 0; i < inputs; i++) {
        const input = row[i];
        const start = offset + i * outputs;
        for (let o = 0; o < outputs; o++) result[o] += input * values[start + o];
      }
      return result;
    });
  }

  /* Features of one network: residual blocks h + SiLU(W h + b), averaged over the images, and a last linear layer. */
  features(network, images) {
    const last = this.layers.length - 1;
    let sum = null;
    for (const rows of images) {
      const hidden = this.affine(0, network, rows);
      for (let layer = 1; layer < last; layer++) {
        const branch = this.affine(layer, network, hidden);
        for (let o = 0; o < hidden[0].length; o++) {
          const z = branch[0][o];
          const gate = 1 / (1 + Math.exp(-z));
          hidden[0][o] += z * gate;
          for (let r = 1; r < rows.length; r++) hidden[r][o] += gate * (1 + z * (1 - gate)) * branch[r][o];
        }
      }
      sum = sum ? sum.map((row, r) => row.map((value, o) => value + hidden[r][o])) : hidden;
    }
    return this.affine(last, network, sum.map((row) => row.map((value) => value / images.length)));
  }

  /* Basis functions of the prior mean: a polynomial; the labels' offset is no part of a prediction. */
  basis(images) {
    const p = this.centre.length;
    return images[0].map((_, r) => {
      const mean = (term) => images.reduce((sum, rows) => sum + term(rows), 0) / images.length;
      const row = [r ? 0 : 1];
      /* A monomial of the value, or the sum over its factors of each one's derivative times the others. */
      const monomial = (...factors) =>
        mean((rows) => {
          const others = (left) => factors.reduce((result, i, at) => (at === left ? result : result * rows[0][i]), 1);
          return r ? factors.reduce((sum, i, at) => sum + rows[r][i] * others(at), 0) : others(-1);
        });
      if (this.degree) {
        for (let i = 0; i < p; i++) row.push(monomial(i));
        for (let i = 0; i < p; i++) for (let j = i; j < p; j++) row.push(monomial(i, j));
      }
      if (this.degree === 3)
        for (let i = 0; i < p; i++)
          for (let j = i; j < p; j++) for (let k = j; k < p; k++) row.push(this.cubic * monomial(i, j, k));
      return [...row, 0];
    });
  }

  /* The same of the sextic mean: invariant polynomials of the strain (C − I)(C + I)⁻¹ with C = L⁻¹ G L⁻ᵀ. */
  strainBasis(G, directions) {
    const { root, unit, degrees } = this.strain;
    const halved = inverse(congruent(root, G).map((row, i) => row.map((value, j) => value + (i === j))));
    const strain = halved.map((row, i) => row.map((value, j) => (i === j) - 2 * value));
    const changes = directions.map((dG) => congruent(halved, congruent(root, dG)).map((row) => row.map((c) => 2 * c)));
    const x = [strain, ...changes].map((A) => mandel(A).map((value) => value / unit));
    let monomials = x.map((_, r) => [r ? 0 : 1]);
    const basis = monomials.map((row) => [...row]);
    for (const { first, rest, mixing } of degrees) {
      const lower = monomials;
      monomials = x.map((row, r) =>
        first.map((i, n) => row[i] * lower[0][rest[n]] + (r ? x[0][i] * lower[r][rest[n]] : 0)),
      );
      const count = mixing.shape[1];
      monomials.forEach((row, r) => {
        const mixed = new Float64Array(count);
        mixing.values.forEach((value, at) => (mixed[at % count] += value * row[Math.floor(at / count)]));
        basis[r].push(...mixed);
      });
    }
    return basis.map((row) => [...row, 0]);
  }

  /* k and k̇ as functions of the squared distance. */
  profile(squared) {
    if (this.kernel === "rbf") return [Math.exp(-squared / 2), -Math.exp(-squared / 2) / 2];
    const r = Math.sqrt(5 * squared + 1e-30);
    return [(1 + r + (r * r) / 3) * Math.exp(-r), (-5 / 6) * (1 + r) * Math.exp(-r)];
  }

  /* Of one network, with h = [k_Z; φ]: mean hᵀ w and variance k_oo − ‖T_Zᵀ k_Z‖² + ‖Tᵀ h‖². */
  marginals(network, images, basis) {
    const part = ({ values }) => {
      const size = values.length / this.networks;
      return values.subarray(network * size, (network + 1) * size);
    };
    const [points, whitening, factor, weights] = [this.points, this.whitening, this.factor, this.weights].map(part);
    const [ell, prior] = [this.lengthscale.values[network], this.amplitude.values[network] ** 2];
    const psi = this.features(network, images).map((row) => row.map((value) => value / ell));
    const [, m, f] = this.points.shape;
    const h = psi.map((_, r) => [...new Float64Array(m), ...basis[r]]);
    for (let i = 0; i < m; i++) {
      const away = psi[0].map((value, o) => value - points[i * f + o] / ell);
      const [k, slope] = this.profile(dot(away, away));
      psi.forEach((row, r) => (h[r][i] = prior * (r ? 2 * slope * dot(row, away) : k)));
    }
    const norm = (root, row, columns) => {
      const sums = new Float64Array(columns);
      root.forEach((value, at) => (sums[at % columns] += row[Math.floor(at / columns)] * value));
      return dot(sums, sums);
    };
    const steepness = this.kernel === "rbf" ? 1 : 5 / 3;
    return h.map((row, r) => {
      const own = prior * (r ? steepness * dot(psi[r], psi[r]) : 1);
      const variance = own - norm(whitening, row, m) + norm(factor, row, this.factor.shape[2]);
      return { mean: dot(row, weights), variance: Math.max(variance, 0) };
    });
  }

  /* Energy (eV) and its derivatives along changes of the metric, each with its standard deviation. */
  predict(G, directions = []) {
    const images = this.coordinates(G, directions);
    const basis = this.strain ? this.strainBasis(G, directions) : this.basis(images);
    const K = this.networks;
    const each = Array.from({ length: K }, (_, network) => this.marginals(network, images, basis));
    return each[0].map((_, r) => {
      const mean = each.reduce((sum, rows) => sum + rows[r].mean, 0) / K;
      const spread = each.reduce((sum, rows) => sum + (rows[r].mean - mean) ** 2, 0) / Math.max(K - 1, 1);
      const variance = each.reduce((sum, rows) => sum + rows[r].variance, 0) / K + spread * this.spread_factor;
      const value = mean * this.units.scale + (r ? 0 : this.units.shift);
      return { value, std: Math.sqrt(variance) * this.units.scale };
    });
  }

  /* Why a lattice is outside the training domain, in words; empty where it is inside. */
  extrapolation(G) {
    const images = this.coordinates(G).map(([row]) => row);
    const beyond = images.map((x) => this.names.filter((_, i) => x[i] > this.high[i] || x[i] < this.low[i]));
    const p = this.names.length;
    let nearest = Infinity;
    for (const x of images)
      for (let at = 0; at < this.lattices.length; at += p) {
        const squared = x.reduce((sum, value, i) => sum + (value - this.lattices[at + i]) ** 2, 0);
        nearest = Math.min(nearest, squared);
      }
    const reasons = [];
    const own = beyond[0].map((name) => GREEK[name] ?? name).join(", ");
    if (own) reasons.push(`beyond the training range of ${own}`);
    else if (beyond.flat().length) reasons.push("a symmetry image of it is beyond the training range");
    if (this.lattices.length && Math.sqrt(nearest) > this.reach) reasons.push("no training lattice is near");
    return reasons.join("; ");
  }
}
