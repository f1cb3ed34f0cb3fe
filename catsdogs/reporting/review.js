// One image at a time; each answer goes to the end of `answers`, as [position, answer], and to the browser's storage.
const data = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const actions = ["keep", "other", "drop", "skip"];
const keys = { k: "keep", o: "other", d: "drop", s: "skip" };
const said = { keep: "kept", other: "changed", drop: "dropped", skip: "skipped" };
let answers = [];
let at = 0;
let unsaved = false;
let downloaded = 0;

function restore() {
  try {
    localStorage.setItem(`${data.key}-test`, "");
    localStorage.removeItem(`${data.key}-test`);
    const known = JSON.parse(localStorage.getItem(data.key) ?? "[]");
    const valid = known.every(([position, answer]) => data.images[position] && actions.includes(answer));
    if (valid && new Set(known.map(([position]) => position)).size === known.length) answers = known;
  } catch (error) {
    unsaved = !(error instanceof SyntaxError || error instanceof TypeError);
  }
  element("unsaved").hidden = !unsaved;
}

function save() {
  try {
    localStorage.setItem(data.key, JSON.stringify(answers));
  } catch {
    element("unsaved").hidden = false;
    unsaved = true;
  }
}

function create(tag, text, name = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = name;
  return made;
}

function className(label) {
  return { [data.classes[0]]: "first", [data.classes[1]]: "second" }[label] ?? "muted";
}

function picture(id, alt) {
  const { src, width, height, reason } = data.pictures[id];
  if (!src) return create("p", `no picture: ${reason}`, "none");
  return Object.assign(new Image(width, height), { src, alt });
}

function neighbour({ id, label, similarity }) {
  const item = create("li", "");
  const name = create("strong", label || "no label", className(label));
  item.append(picture(id, ""), name, create("bdi", id), create("span", `similarity ${similarity}`, "muted"));
  return item;
}

function show(before = "") {
  const answered = new Set(answers.map(([position]) => position));
  const next = data.images.findIndex((_, position) => !answered.has(position));
  element("count").textContent = `${answers.length} of ${data.images.length} done`;
  element("progress").value = answers.length;
  element("download").disabled = rows().length === 0;
  element("undo").disabled = answers.length === 0;
  element("image").hidden = next < 0;
  element("done").hidden = next >= 0;
  if (next < 0) finish(before);
  else {
    at = next;
    fill(data.images[at], before);
  }
}

function fill(image, before) {
  const large = picture(image.id, `Training image ${image.id}, labelled ${image.label}`);
  if (large instanceof Image) large.addEventListener("click", zoom);
  element("picture").replaceChildren(large);
  element("zoom").disabled = !(large instanceof Image);
  element("position").textContent = `${at + 1} of ${data.images.length}`;
  element("name").replaceChildren(create("bdi", image.id));
  element("label").textContent = image.label;
  element("label").className = className(image.label);
  element("probability").textContent = `probability of ${image.label}: ${image.probability}`;
  element("why").replaceChildren(...image.why.map((reason) => create("li", reason)));
  element("facts").textContent = image.facts;
  element("neighbours").replaceChildren(...image.neighbours.map(neighbour));
  document.querySelector("[data-answer=keep] span").textContent = `keep ${image.label}`;
  document.querySelector("[data-answer=other] span").textContent = `change to ${image.other}`;
  const about = `${image.id}, labelled ${image.label}, probability ${image.probability}. ${image.why.join(". ")}`;
  element("announced").textContent = `${before}${at + 1} of ${data.images.length}: ${about}.`;
}

function finish(before) {
  element("announced").textContent = `${before}All images are done.`;
  if (!data.images.length) return;
  const count = (answer) => answers.filter(([, given]) => given === answer).length;
  element("summary").textContent = `${actions.map((answer) => `${count(answer)} ${said[answer]}`).join(", ")}.`;
  element("again").hidden = count("skip") === 0;
  element("done-title").focus();
}

function answer(given) {
  if (element("image").hidden) return;
  answers.push([at, given]);
  save();
  show(`${data.images[at].id} ${said[given]}. `);
}

function undo() {
  if (!answers.length) return;
  const [position] = answers.pop();
  save();
  show(`The answer for ${data.images[position].id} is undone. `);
}

function zoom() {
  const large = element("picture").querySelector("img");
  if (!large) return;
  Object.assign(element("enlarged"), { src: large.src, alt: large.alt });
  document.querySelector("dialog").showModal();
}

function rows() {
  return answers.filter(([, given]) => given !== "skip").map(([position, given]) => {
    const { id, digest, other } = data.images[position];
    return [id, given === "other" ? other : given, digest];
  });
}

function download() {
  const cell = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = [["id", "label", "digest"], ...rows()].map((row) => `${row.map(cell).join(",")}\n`);
  const link = create("a", "");
  link.href = URL.createObjectURL(new Blob(lines, { type: "text/csv" }));
  link.download = "review.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  downloaded = answers.length;
}

document.querySelectorAll("[data-answer]").forEach((button) => {
  button.addEventListener("click", () => answer(button.dataset.answer));
});
element("undo").addEventListener("click", undo);
element("undo-last")?.addEventListener("click", undo);
element("again")?.addEventListener("click", () => {
  answers = answers.filter(([, given]) => given !== "skip");
  save();
  show();
});
element("zoom").addEventListener("click", zoom);
element("download").addEventListener("click", download);
document.querySelector("dialog").addEventListener("click", () => document.querySelector("dialog").close());
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || !element("shortcuts").checked) return;
  const key = event.key.toLowerCase();
  if (document.querySelector("dialog").open) {
    if (key === "z") document.querySelector("dialog").close();
  } else if (key in keys) answer(keys[key]);
  else if (key === "u") undo();
  else if (key === "z") zoom();
});
addEventListener("beforeunload", (event) => {
  if (unsaved && answers.length !== downloaded) event.preventDefault();
});
restore();
show();
