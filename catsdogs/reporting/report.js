// A click or Enter on a thumbnail enlarges it; the arrow keys show the next or the previous one.
const dialog = document.querySelector("dialog");
const buttons = [...document.querySelectorAll("button.thumbnail")];
let at = 0;

function enlarge(index) {
  at = (index + buttons.length) % buttons.length;
  const image = buttons[at].querySelector("img").cloneNode();
  dialog.querySelector(".stage").replaceChildren(image);
  const caption = buttons[at].closest("figure").querySelector("figcaption").cloneNode(true);
  document.getElementById("enlarged").replaceChildren(...caption.childNodes);
  if (!dialog.open) dialog.showModal();
}

buttons.forEach((button, index) => button.addEventListener("click", () => enlarge(index)));
dialog.addEventListener("click", (event) => {
  if (!event.target.closest("form")) dialog.close();
});
dialog.addEventListener("keydown", (event) => {
  if (event.key === "ArrowRight") enlarge(at + 1);
  if (event.key === "ArrowLeft") enlarge(at - 1);
});
dialog.addEventListener("close", () => buttons[at].focus());
