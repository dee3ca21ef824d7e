// Nothing but loopback: under `node --import guard.mjs`, to connect to anything else fails.
// What was tried is written to the file CONTRACT_WENT_OUT, a line each.

import fs from "node:fs";
import net from "node:net";

const connect = net.Socket.prototype.connect;

net.Socket.prototype.connect = function (...given) {
  const [options, host] = Array.isArray(given[0]) ? given[0] : given;
  const address = typeof options === "object" ? (options.path ? "" : options.host) : host;
  if (!address || address === "localhost" || address === "::1" || address.startsWith("127.")) {
    return connect.apply(this, given);
  }
  fs.appendFileSync(process.env.CONTRACT_WENT_OUT, `${address}\n`);
  process.nextTick(() => this.destroy(new Error("the contract lets nothing out but to loopback")));
  return this;
};
