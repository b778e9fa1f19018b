// The page to log in: a name with its password, or a token, becomes a session. A link may carry the token behind its #, which no server and no log sees.
(function () {
  function send(path, body) {
    return fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  }

  function enter(given) {
    send("/log-in", given).then(function (answer) {
      if (answer.ok) {
        window.location.replace(form.dataset.to);
        return;
      }
      answer.json().then(function (told) {
        document.getElementById("said").textContent = told.said;
      });
    });
  }

  function valueOf(id) {
    return document.getElementById(id).value;
  }

  var form = document.getElementById("log-in");
  if (form) {
    form.addEventListener("submit", function (event) {
      event.preventDefault();
      enter({ name: valueOf("name"), password: valueOf("password") });
    });
    document.getElementById("log-in-by-token").addEventListener("submit", function (event) {
      event.preventDefault();
      enter({ token: valueOf("token") });
    });
    var carried = window.location.hash.match(/^#token=([\w-]+)$/);
    if (carried) {
      history.replaceState(null, "", window.location.pathname + window.location.search);
      enter({ token: carried[1] });
    }
  }

  document.addEventListener("click", function (event) {
    if (event.target && event.target.id === "log-out") {
      send("/log-out", {}).then(function () {
        window.location.replace("/log-in");
      });
    }
  });
})();
