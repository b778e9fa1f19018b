// Plays a span that was read once: shows of its figures what was complete at a moment, and moves the moment on.
(function () {
  const SHOWN = 8; // newest entries of what was said
  const PLAY = "▶ Play";
  const PAUSE = "❚❚ Pause";
  let playing = false;
  let moment = 0; // epoch milliseconds
  let last = 0; // when the moment was moved, by the browser's clock
  let played = null; // device and span
  let drawn = null; // number of windows that the figures show

  function utc(ms) {
    return new Date(ms).toISOString().slice(0, 19).replace("T", " ") + "Z";
  }

  // How many of some ascending instants are not after one.
  function upTo(instants, ms) {
    let low = 0;
    let high = instants.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (instants[middle] <= ms) { low = middle + 1; } else { high = middle; }
    }
    return low;
  }

  // A figure as it was: windows that were complete, marks that had begun, and a line at the moment.
  function asOf(figure, ms, window) {
    const data = figure.data.map(function (trace) {
      const n = upTo(trace.x, ms - window);
      const cut = { ...trace, x: trace.x.slice(0, n), y: trace.y.slice(0, n) };
      if (trace.customdata) { cut.customdata = trace.customdata.slice(0, n); }
      return cut;
    });
    const begun = figure.layout.shapes
      .filter(function (shape) { return shape.xref !== "x" || shape.x0 + window <= ms; })
      .map(function (shape) { return shape.xref === "x" ? { ...shape, x1: Math.min(shape.x1, ms) } : shape; });
    const now = { type: "line", xref: "x", yref: "paper", x0: ms, x1: ms, y0: 0, y1: 1, line: { color: "#1f2933", width: 1 } };
    return { data: data, layout: { ...figure.layout, shapes: begun.concat([now]) } };
  }

  function newest(trace) {
    for (let i = trace.y.length - 1; i >= 0; i--) {
      if (trace.y[i] !== null) { return trace.y[i]; }
    }
    return null;
  }

  function values(data, figure) {
    return data.lines
      .map(function (line) {
        // What would have been normal is drawn before the line itself, on the same axis.
        const value = newest(figure.data.filter(function (trace) { return trace.yaxis === line[2]; }).pop());
        const shown = value === null ? "–" : Number(value.toPrecision(4)).toLocaleString("en");
        return line[0] + " " + shown + (value === null || !line[1] ? "" : " " + line[1]);
      })
      .join(" · ");
  }

  function state(data) {
    const window = data.window;
    const complete = Math.floor((moment - data.start) / window) * window + data.start - window; // start of the newest
    const run = data.anomalous.find(function (one) { return one[0] <= complete && complete < one[1]; });
    if (!run) { return "Nothing anomalous"; }
    const before = data.said.slice(0, upTo(data.said.map(function (entry) { return entry[0]; }), moment));
    const newest = before.filter(function (entry) { return !entry[2]; }).pop(); // of a window, not of an incident
    return newest && newest[0] > run[0] ? newest[1] : "Anomalous by " + run[2];
  }

  function part(type, props, namespace) {
    return { type: type, namespace: namespace || "dash_html_components", props: props };
  }

  function entries(data) {
    const n = upTo(data.said.map(function (entry) { return entry[0]; }), moment);
    if (n === 0) { return [part("Li", { children: "Nothing yet." })]; }
    return data.said
      .slice(Math.max(0, n - SHOWN), n)
      .reverse()
      .map(function (entry) {
        const when = utc(entry[0]).slice(5, 16) + " ";
        const link = entry[2] && part("Link", { href: entry[2], children: entry[1] }, "dash_core_components");
        return part("Li", { children: [part("B", { children: when }), link || entry[1]] });
      });
  }

  function step(data, _clicks, at, _ticks, speed) {
    const keep = window.dash_clientside.no_update;
    const told = window.dash_clientside.callback_context.triggered.map(function (one) { return one.prop_id; });
    const now = performance.now();
    if (!data) {
      playing = false;
      return [keep, keep, keep, keep, keep, keep, keep, keep, keep, true, PLAY];
    }
    const fresh = told.includes("replay-data.data") || drawn === null;
    if (fresh) {
      const span = [data.of, data.start, data.end].join(" ");
      if (span !== played) { // with other metrics of the same span, the moment stays
        playing = false;
        moment = data.at;
      }
      played = span;
      drawn = null;
    } else if (told.includes("replay-play.n_clicks")) {
      playing = !playing;
      if (playing && moment >= data.end) { moment = data.start; }
    } else if (told.includes("replay-at.value")) {
      moment = Math.min(data.start + Number(at) * 1000, data.end);
    } else if (playing) {
      moment = Math.min(moment + (now - last) * speed, data.end);
      if (moment >= data.end) { playing = false; }
    }
    last = now;
    const windows = Math.floor((moment - data.start) / data.window);
    const slider = document.getElementById("replay-at");
    if (slider) { slider.setAttribute("aria-valuetext", utc(moment)); }
    const seconds = data.window / 1000;
    const place = told.includes("replay-at.value") ? keep : Math.floor((moment - data.start) / data.window) * seconds;
    const most = fresh ? Math.ceil((data.end - data.start) / data.window) * seconds : keep;
    const beside = [place, most, fresh ? seconds : keep, utc(moment)];
    const button = playing ? PAUSE : PLAY;
    if (windows === drawn) { return [keep, keep, ...beside, keep, keep, keep, !playing, button]; }
    drawn = windows;
    const figure = asOf(data.metrics, moment, data.window);
    const scores = asOf(data.scores, moment, data.window);
    return [scores, figure, ...beside, state(data), values(data, figure), entries(data), !playing, button];
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside, { replay: { step: step } });
})();
