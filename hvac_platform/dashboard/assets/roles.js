// Dash's drop-downs and radio buttons call themselves lists of options, while what takes the keys in them are radio buttons
// and check boxes; drop-downs leave out their label, and put a hidden field before their button. Mended as they are drawn.
(function () {
  function set(element, name, value) {
    if (element.getAttribute(name) !== value) {
      element.setAttribute(name, value);
    }
  }

  function each(selector, mend) {
    document.querySelectorAll(selector).forEach(mend);
  }

  function labelOf(button) {
    return button.id && document.querySelector('label[for="' + CSS.escape(button.id) + '"]');
  }

  function mend() {
    each(".dash-options-list[role]", function (list) {
      list.removeAttribute("role");
    });
    each(".dash-options-list-option[role], .dash-options-list-option[aria-selected]", function (option) {
      option.removeAttribute("role");
      option.removeAttribute("aria-selected");
    });
    each(".dash-dropdown-focus-target", function (field) {
      set(field, "tabindex", "-1");
    });
    each("button.dash-dropdown", function (button) {
      var label = labelOf(button);
      set(button, "tabindex", "0");
      set(button, "aria-haspopup", "dialog");
      if (label) {
        label.id = label.id || button.id + "-label";
        set(button, "aria-labelledby", label.id + " " + button.id + "-value-count " + button.id + "-value");
      }
    });
    each("button.dash-dropdown a.dash-dropdown-clear", function (cross) {
      set(cross, "role", "img");
    });
    each(".dash-dropdown-content", function (content) {
      var button = content.id && document.querySelector('[aria-controls="' + CSS.escape(content.id) + '"]');
      var label = button && labelOf(button);
      set(content, "aria-label", label ? label.textContent : "Choices");
    });
  }

  new MutationObserver(mend).observe(document, {
    childList: true,
    subtree: true,
    attributes: true,
    attributeFilter: ["role", "aria-selected", "tabindex", "aria-haspopup", "aria-labelledby"],
  });
})();
