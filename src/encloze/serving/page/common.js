"use strict";

// What all pages share; loaded before the script of the page

const element = (id) => document.getElementById(id);
const THEMES = ["automatic", "light", "dark"];
const RIGHT_TO_LEFT = /^[^A-Za-z\u00C0-\u024F]*[\u0590-\u08FF\uFB1D-\uFDFF\uFE70-\uFEFF]/;
const login = { answer: null }; // whether a key is given, while it is asked for

// Requests

async function request(path, body, signal) {
  for (;;) {
    const headers = {};
    const key = sessionStorage.getItem("key");
    if (key) headers.Authorization = `Bearer ${key}`;
    const options = { headers, signal };
    if (body) {
      headers["Content-Type"] = "application/json";
      Object.assign(options, { method: "POST", body: JSON.stringify(body) });
    }
    const response = await fetch(path, options);
    if (response.status === 401) {
      if (!(await askForKey())) throw new Error("This service needs an API key. Reload the page to enter one.");
      continue;
    }
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error?.message ?? answer.message ?? `status ${response.status}`);
    return answer;
  }
}

function askForKey() {
  if (login.answer) return login.answer; // several requests wait for the same key
  const key = make("input", { id: "key", type: "password", autocomplete: "off" });
  const dialog = make("dialog", { id: "login", "aria-labelledby": "login-title" }, make("form", { method: "dialog" },
    make("h2", { id: "login-title" }, "API key"),
    make("p", {}, "This service needs an API key. It is kept until you close this tab."),
    make("label", {}, "Key ", key), make("button", { value: "given" }, "Continue")));
  document.body.append(dialog);
  dialog.showModal();
  login.answer = new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const isGiven = dialog.returnValue === "given"; // not closed by Escape
      if (isGiven) sessionStorage.setItem("key", key.value.trim());
      login.answer = null;
      dialog.remove();
      resolve(isGiven);
    });
  });
  return login.answer;
}

// Small helpers to build the page; texts are never parsed as HTML

function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function showStatus(text, isError = false) {
  element("status").textContent = text;
  element("status").classList.toggle("error", isError);
}

function directionOf(text) {
  return RIGHT_TO_LEFT.test(text) ? "rtl" : "ltr";
}

function highlighted(pieces) { // pieces: [text, is a match]
  return pieces.map(([text, isMatch]) => (isMatch ? make("mark", {}, text) : text));
}

// Theme

function showTheme(theme) {
  element("theme").textContent = `Theme: ${theme}`;
  if (theme === "automatic") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

function nextTheme() {
  const theme = THEMES[(THEMES.indexOf(localStorage.getItem("theme") ?? "automatic") + 1) % THEMES.length];
  localStorage.setItem("theme", theme);
  showTheme(theme);
}

function startTheme() {
  showTheme(localStorage.getItem("theme") ?? "automatic");
  element("theme").addEventListener("click", nextTheme);
}
