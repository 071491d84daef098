
"use strict";

// An element with its attributes and children; text only, never markup.
function h(name, attributes, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

function byId(id) {
  return document.getElementById(id);
}

// Gives an element these children, but changes only what differs, to keep selection, focus, scrolling and animations.
function fill(id, ...children) {
  revise(byId(id), children);
}

// Matches children with a data-id to their old elements, wherever they move, and all others by position.
function revise(parent, children) {
  const wanted = new Set(children.map((child) => child.dataset?.id));
  const known = new Map();
  for (const old of [...parent.children]) {
    if (old.dataset.id && !wanted.has(old.dataset.id)) old.remove();
    else if (old.dataset.id) known.set(old.dataset.id, old);
  }
  let place = parent.firstChild;
  for (const child of children) {
    const id = child.dataset?.id;
    const old = id ? known.get(id) : place;
    if (!old || old.nodeName !== child.nodeName || old.dataset?.id !== id) {
      parent.insertBefore(child, place);
      continue;
    }
    if (old === place) place = old.nextSibling;
    else parent.insertBefore(old, place);
    reviseOne(old, child);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function reviseOne(old, child) {
  if (old.isEqualNode(child)) return;
  if (child.nodeType === Node.TEXT_NODE) {
    old.data = child.data;
    return;
  }
  for (const name of old.getAttributeNames()) if (!child.hasAttribute(name)) old.removeAttribute(name);
  for (const name of child.getAttributeNames()) old.setAttribute(name, child.getAttribute(name));
  revise(old, [...child.childNodes]);
}

function setText(id, text) {
  const element = byId(id);
  // a screen reader reads a status aloud whenever it is written
  if (element.textContent !== text) element.textContent = text;
}

function number(value) {
  return value.toLocaleString("en-US", { maximumFractionDigits: 0 });
}

function short(value) {
  if (value >= 999500) return `${(value / 1e6).toFixed(value < 9.95e6 ? 1 : 0)}M`;
  if (value >= 9995) return `${(value / 1e3).toFixed(value < 99500 ? 1 : 0)}k`;
  return number(value);
}

function rate(value) {
  return value >= 9.95 || value === 0 ? number(value) : value.toFixed(1);
}

function plural(count, word) {
  return `${number(count)} ${word}${count === 1 ? "" : "s"}`;
}

function milliseconds(value) {
  return value < 999.5 ? `${Math.round(value)} ms` : seconds(value / 1000);
}

function seconds(value) {
  if (value < 9.95) return `${value.toFixed(1)} s`;
  if (value < 60) return `${Math.floor(value)} s`;
  if (value < 3600) return `${Math.floor(value / 60)} min ${Math.floor(value % 60)} s`;
  if (value < 86400) return `${Math.floor(value / 3600)} h ${Math.floor((value % 3600) / 60)} min`;
  return `${Math.floor(value / 86400)} d ${Math.floor((value % 86400) / 3600)} h`;
}

function ago(value) {
  if (value < 5) return "now";
  if (value < 60) return `${Math.floor(value)} s ago`;
  if (value < 3600) return `${Math.floor(value / 60)} min ago`;
  if (value < 86400) return `${Math.floor(value / 3600)} h ago`;
  return `${Math.floor(value / 86400)} d ago`;
}

// Shows multiples of 1,024 in Ki: some context lengths are powers of two, others multiples of a thousand.
function context(tokens) {
  return tokens % 1024 === 0 && tokens >= 1024 ? `${number(tokens / 1024)}Ki` : short(tokens);
}
