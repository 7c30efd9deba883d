(() => {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const form = byId("ask-form"), results = byId("results"), state = byId("state"), trouble = byId("trouble");
  const progress = form.querySelector("progress"), send = form.querySelector("button[type=submit]");
  const boxes = [...form.querySelectorAll("input[name=model]")];
  let asked = null;

  const complain = (words) => {
    trouble.textContent = words;
    trouble.hidden = !words;
  };

  const post = async (path, question) => {
    const response = await fetch(path, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(question) });
    if (response.ok) return response;
    const found = await response.json().catch(() => ({}));
    throw new Error(found.error || `the service answered with status ${response.status}`);
  };

  // Runs a request with the button disabled and the time that it takes shown.
  const busy = async (task) => {
    const start = performance.now();
    const seconds = () => ((performance.now() - start) / 1000).toFixed(1) + " s";
    const clock = setInterval(() => { state.textContent = "Computing, " + seconds(); }, 1000);
    complain("");
    state.textContent = "Computing…";
    send.disabled = true;
    progress.hidden = false;
    results.setAttribute("aria-busy", "true");
    try {
      await task();
      state.textContent = "Done in " + seconds();
    } catch (error) {
      state.textContent = "";
      complain(error instanceof TypeError ? "The service cannot be reached. Is it still running?" : error.message);
    } finally {
      clearInterval(clock);
      send.disabled = false;
      progress.hidden = true;
      results.setAttribute("aria-busy", "false");
    }
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const question = { query: byId("query").value, models: boxes.filter((box) => box.checked).map((box) => box.value) };
    if (byId("target").value.trim()) question.target = byId("target").value.trim();
    if (!question.models.length) { complain("Choose a model."); return; }
    busy(async () => {
      const response = await post("/api/fragment", question);
      results.innerHTML = await response.text(); // escaped by the service; scripts in it are not run
      asked = question;
      byId("answer").hidden = false;
      results.dispatchEvent(new Event("added", { bubbles: true }));
      byId("answer-head").focus({ preventScroll: true });
      byId("answer").scrollIntoView({ behavior: "instant" });
    });
  });

  byId("query").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.example !== undefined) {
      byId("query").value = button.dataset.example;
      byId("query").focus();
    }
    const kind = button.dataset.download;
    if (!kind || !asked) return;
    busy(async () => {
      const response = await post("/api/" + kind, asked);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(await response.blob());
      link.download = kind === "report" ? "answer.html" : "answer.tsv";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  });

  const search = byId("model-search");
  if (search) {
    search.addEventListener("input", () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      boxes.forEach((box) => {
        const label = box.closest("label"), text = label.textContent.toLowerCase();
        label.hidden = !box.checked && !words.every((word) => text.includes(word));
      });
    });
    search.addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
  }
})();
