(() => {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const read = (id) => JSON.parse(byId(id).textContent);
  document.documentElement.classList.remove("no-script");

  const save = (name, content, type) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };

  // A saved picture has the style of the light page, without variables, which drawing programs do not know.
  const picture = (svg) => {
    const copy = svg.cloneNode(true);
    const style = document.createElementNS("http://www.w3.org/2000/svg", "style");
    style.textContent = byId("chart-style").textContent.replace(/var\(--[\w-]+, (#\w+)\)/g, "$1");
    copy.insertBefore(style, copy.firstChild);
    copy.querySelectorAll(".now").forEach((part) => part.classList.remove("now"));
    copy.removeAttribute("tabindex");
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + new XMLSerializer().serializeToString(copy);
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-save]");
    if (!button) return;
    const name = button.dataset.of;
    if (button.dataset.save === "tsv") save(name + ".tsv", read(name + "-data"), "text/tab-separated-values");
    if (button.dataset.save === "svg") save(name + ".svg", picture(byId(name).querySelector("svg")), "image/svg+xml");
  });

  // Values of a picture's parts: under the pointer, or one after the other with the arrow keys.
  const tip = byId("tip");
  const show = (words, x, y) => {
    tip.textContent = words;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(x + 12, innerWidth - box.width - 4)) + "px";
    tip.style.top = (y - box.height - 10 < 4 ? y + 16 : y - box.height - 10) + "px";
  };
  const hide = () => { tip.hidden = true; };
  document.addEventListener("pointermove", (event) => {
    const part = event.target instanceof Element ? event.target.closest("[data-t]") : null;
    if (part) show(part.dataset.t, event.clientX, event.clientY); else hide();
  });
  document.addEventListener("scroll", hide, { passive: true, capture: true });
  const readable = (svg) => {
    let at = -1;
    const mark = (step) => {
      const parts = svg.querySelectorAll("[data-t]");
      if (!parts.length) return;
      svg.querySelectorAll(".now").forEach((part) => part.classList.remove("now"));
      at = (at + step + parts.length) % parts.length;
      parts[at].classList.add("now");
      const box = parts[at].getBoundingClientRect();
      show(parts[at].dataset.t, box.left + box.width / 2, box.top);
    };
    svg.addEventListener("keydown", (event) => {
      if (event.key === "ArrowRight" || event.key === "ArrowDown") mark(1);
      else if (event.key === "ArrowLeft" || event.key === "ArrowUp") mark(at < 0 ? 0 : -1);
      else if (event.key === "Escape") hide();
      else return;
      event.preventDefault();
    });
    svg.addEventListener("blur", () => {
      hide();
      at = -1;
      svg.querySelectorAll(".now").forEach((part) => part.classList.remove("now"));
    });
  };

  // A link of a table names a section of this page, or another page.
  const address = (link) => (link.startsWith("/") ? link : "#" + link);
  const open = (id) => {
    if (id.startsWith("/")) { location.assign(id); return; }
    const section = byId(id);
    if (!section) return;
    history.replaceState(null, "", "#" + id);
    section.scrollIntoView({ behavior: "instant" });
    section.focus({ preventScroll: true });
  };

  const sortable = (box) => {
    const data = read(box.id + "-data");
    const value = (column, row) => (column.values ? column.values[row] : column.levels[column.codes[row]]);
    const shown = (column, row) => {
      const found = value(column, row);
      if (found === null || found === "") return "–";
      if (!column.values) return found;
      const words = found.toLocaleString("en-US", {
        minimumFractionDigits: column.digits, maximumFractionDigits: column.digits, useGrouping: true });
      return (column.sign && found >= 0 ? "+" + words : words).replace("-", "−");
    };
    const texts = data.columns.filter((column) => column.levels);
    const lower = new Map(texts.map((column) => [column, column.levels.map((level) => level.toLowerCase())]));
    const body = box.querySelector("tbody"), heads = [...box.querySelectorAll("th[data-column]")];
    const search = box.querySelector("input[type=search]"), flag = box.querySelector("input[type=checkbox]");
    const selects = [...box.querySelectorAll("select")], state = box.querySelector("[data-state]");
    const [back, forth] = box.querySelectorAll(".pager button[data-step]");
    let rows = [], page = 0, order = null;

    const filtered = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const hits = words.map((word) => texts.map((column) => lower.get(column).map((level) => level.includes(word))));
      const chosen = selects.filter((select) => select.value !== "").map((select) => {
        const column = data.columns.find((one) => one.name === select.name);
        return [column, column.levels.indexOf(select.value)];
      });
      const found = [];
      for (let row = 0; row < data.size; row++) {
        if (flag && flag.checked && !data.flag[row]) continue;
        if (!chosen.every(([column, code]) => column.codes[row] === code)) continue;
        if (!hits.every((own) => own.some((levels, i) => levels[texts[i].codes[row]]))) continue;
        found.push(row);
      }
      return found;
    };
    const sorted = (found) => {
      if (!order) return found;
      const { column, sign } = order, empty = (one) => one === null || one === "";
      const compare = new Intl.Collator("en", { numeric: true }).compare;
      return found.sort((a, b) => {
        const x = value(column, a), y = value(column, b);
        if (empty(x) || empty(y)) return empty(x) - empty(y) || a - b;
        return sign * (column.values ? x - y : compare(x, y)) || a - b;
      });
    };
    const draw = () => {
      const first = page * data.page, part = rows.slice(first, first + data.page);
      body.replaceChildren(...part.map((row) => {
        const line = document.createElement("tr"), link = data.links[row];
        if (link) { line.className = "opens"; line.dataset.opens = link; }
        for (const column of data.columns) {
          const cell = document.createElement("td");
          cell.className = column.values ? "number" : "text";
          if (!column.values && shown(column, row).length > 60) cell.classList.add("long");
          if (column.link && link) {
            const anchor = document.createElement("a");
            anchor.href = address(link);
            anchor.textContent = shown(column, row);
            cell.append(anchor);
          } else cell.textContent = shown(column, row);
          line.append(cell);
        }
        return line;
      }));
      const last = Math.min(first + data.page, rows.length);
      state.textContent = rows.length ? `${(first + 1).toLocaleString("en-US")}–${last.toLocaleString("en-US")} of ` +
        `${rows.length.toLocaleString("en-US")} rows` : "No row matches. Clear the search or a filter.";
      back.disabled = page === 0;
      forth.disabled = last >= rows.length;
    };
    const update = () => { rows = sorted(filtered()); page = 0; draw(); };
    let waiting = 0;
    search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(update, 120); });
    [...selects, flag].forEach((control) => control && control.addEventListener("change", update));
    heads.forEach((head) => head.querySelector("button").addEventListener("click", () => {
      const column = data.columns.find((one) => one.name === head.dataset.column);
      const first = column.values && column.name !== "rank" ? -1 : 1;
      const sign = order && order.column === column ? -order.sign : first;
      order = { column, sign };
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      update();
    }));
    back.addEventListener("click", () => { page -= 1; draw(); });
    forth.addEventListener("click", () => { page += 1; draw(); });
    body.addEventListener("click", (event) => {
      const line = event.target.closest("tr[data-opens]");
      if (!line || String(getSelection())) return;
      event.preventDefault();
      open(line.dataset.opens);
    });
    box.querySelector("[data-rows]").addEventListener("click", () => {
      const clean = (found) => (found === null ? "" : String(found).replace(/[\t\r\n]+/g, " "));
      const lines = rows.map((row) => data.columns.map((column) => clean(value(column, row))).join("\t"));
      save(box.id + ".tsv", [data.columns.map((one) => one.name).join("\t"), ...lines, ""].join("\n"),
        "text/tab-separated-values");
    });
    update();
  };

  const prepare = (root) => {
    root.querySelectorAll("svg").forEach(readable);
    root.querySelectorAll("[data-table]").forEach(sortable);
    root.querySelectorAll("figure.wide .canvas").forEach((box) => {
      box.scrollLeft = (box.scrollWidth - box.clientWidth) / 2;
    });
  };
  prepare(document);
  // A page that receives content later sends this event to the element that holds it.
  document.addEventListener("added", (event) => prepare(event.target));
})();
