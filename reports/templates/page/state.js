// SPDX-License-Identifier: MIT
// What is shown, in the address: #CELL?q=QUERY&group=kernel&... A cell is BEHAVIOUR@ENVIRONMENT, names that last.

/** @returns {State} */
const stateOfAddress = () => {
  const hash = location.hash.slice(1);
  const at = hash.search(/\?(?=(?:q|group|sort|hide|pair|diff)=)/);
  const open = at < 0 ? hash : hash.slice(0, at);
  const values = new URLSearchParams(at < 0 ? "" : hash.slice(at + 1));
  let name = open;
  try { name = decodeURIComponent(open); } catch { /* a name with a % in it */ }
  return {
    open: name === "_" ? "" : name,
    q: values.get("q") ?? "",
    group: values.get("group") ?? "",
    sort: values.get("sort") ?? "",
    hide: values.getAll("hide"),
    pair: values.getAll("pair").slice(0, 2),
    diff: values.get("diff") === "1",
  };
};

/** @param {State} state */
const addressOf = ({ open, q, group, sort, hide, pair, diff }) => {
  const values = new URLSearchParams();
  for (const [name, value] of Object.entries({ q, group, sort })) if (value) values.append(name, value);
  for (const name of hide) values.append("hide", name);
  for (const name of pair) values.append("pair", name);
  if (diff) values.append("diff", "1");
  const rest = values.toString().replaceAll("%3A", ":").replaceAll("%2C", ",").replaceAll("%2F", "/").replaceAll("%40", "@");
  return `#${encodeURIComponent(open).replaceAll("%40", "@").replaceAll("%2F", "/").replaceAll("%3A", ":")}${rest ? `?${rest}` : ""}`;
};
