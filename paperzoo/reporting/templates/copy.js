// A button beside each command copies it; without a clipboard it selects the text.
for (const button of document.querySelectorAll(".command button")) {
  const command = button.previousElementSibling;
  button.hidden = false;
  button.onclick = async () => {
    getSelection().selectAllChildren(command);
    try {
      await navigator.clipboard.writeText(command.textContent);
      button.textContent = "copied";
    } catch {
      button.textContent = document.execCommand("copy") ? "copied" : "selected";
    }
    setTimeout(() => (button.textContent = "copy"), 1500);
  };
}
