// A click on a picture, or Enter, enlarges it; the arrow keys go to the next one.
const dialog = document.querySelector("dialog");
const buttons = [...document.querySelectorAll("button.picture")];
let at = 0;

function enlarge(index) {
  at = (index + buttons.length) % buttons.length;
  const picture = buttons[at].querySelector("img").cloneNode();
  dialog.querySelector(".stage").replaceChildren(picture);
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
