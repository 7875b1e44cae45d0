/** One scenario after the other, with each client of the topic protocol, over sockets. */
import { Effect } from "effect"
import { Topics } from "effect-ws"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { type Driven, type Driver, drivers, rejectedWith, Room } from "../support/topicDrivers.ts"
import { serve, type Serving, until } from "../support/topicServing.ts"

let serving: Serving
let opened: Array<Driven>

beforeEach(async () => {
  serving = await serve()
  opened = []
})

afterEach(async () => {
  for (const client of opened) await client.close()
  await serving.stop()
})

const open = (driver: Driver, token: string | (() => string) = "ada"): Driven => {
  const client = driver.open(serving.url, token)
  opened.push(client)
  return client
}

const member = (channel: string, log: ReadonlyArray<string>) =>
  until(() => log.includes("subscribed"), () => [channel, log])

const has = (log: ReadonlyArray<string>, entry: string) => until(() => log.includes(entry), () => [entry, log])

const messages = (log: ReadonlyArray<string>) => log.filter((entry) => entry.startsWith("message"))

const lobby = { name: "lobby" }

for (const driver of drivers) {
  describe(driver.name, () => {
    it("connects, subscribes, publishes and receives in order", async () => {
      const ada = open(driver)
      const bob = open(driver, "bob")
      const [left, right] = [ada.subscribe("room:lobby"), bob.subscribe("room:lobby")]
      await member("room:lobby", left.log)
      await member("room:lobby", right.log)
      for (let i = 0; i < 20; i++) await (i % 2 === 0 ? ada : bob).publish("room:lobby", i)
      await serving.run(Topics.publish(Room, lobby, { from: "the server" }))
      const expected = [...Array.from({ length: 20 }, (_, i) => `message ${i}`), `message {"from":"the server"}`]
      for (const { log } of [left, right]) {
        await has(log, expected[20])
        assert.deepStrictEqual(messages(log), expected)
      }
    })

    it("sees members come and go, and lists them", async () => {
      const ada = open(driver)
      const { log } = ada.subscribe("room:lobby")
      await member("room:lobby", log)
      const bob = open(driver, "bob")
      const bobs = bob.subscribe("room:lobby")
      await has(log, "joined bob")
      assert.deepStrictEqual(await ada.members("room:lobby"), ["ada", "bob"])
      bobs.stop()
      await has(log, "left bob")
      assert.deepStrictEqual(await ada.members("room:lobby"), ["ada"])
      const cy = open(driver, "cy")
      cy.subscribe("room:lobby")
      await has(log, "joined cy")
      await cy.close()
      await has(log, "left cy")
    })

    it("reads the history", async () => {
      const ada = open(driver)
      await member("room:lobby", ada.subscribe("room:lobby").log)
      for (const data of [1, "two", { three: [3] }]) await ada.publish("room:lobby", data)
      assert.deepStrictEqual(await ada.history("room:lobby"), [1, "two", { three: [3] }])
      assert.deepStrictEqual(await ada.history("room:lobby", 2), [1, "two"])
      assert.deepStrictEqual(await ada.history("room:lobby", 0), [])
    })

    it("calls, and sends and receives data", async () => {
      const ada = open(driver)
      assert.strictEqual(await ada.rpc("who", null), "ada")
      assert.deepStrictEqual(await ada.rpc("echo", { a: [1, null] }), { a: [1, null] })
      assert.strictEqual(await rejectedWith(ada.rpc("other", null)), 104)
      await ada.send({ b: 2 })
      await until(() => ada.received.length > 0, "data from the server")
      assert.deepStrictEqual(serving.sent, [{ b: 2 }])
      assert.deepStrictEqual(ada.received, [["got", { b: 2 }]])
    })

    it("gives up, and tells why, if the server rejects the connection", async () => {
      const bad = open(driver, "bad")
      await until(() => bad.ended() !== undefined, "an end")
      assert.strictEqual(bad.ended(), 101)
      const gone = open(driver, "gone")
      await until(() => gone.ended() !== undefined, "an end")
      assert.strictEqual(gone.ended(), 3500)
    })

    it("gets a new token when the server says that the token has expired", async () => {
      const tokens = ["expired", "ada"]
      const ada = open(driver, () => tokens.shift()!)
      assert.strictEqual(await ada.rpc("who", null), "ada")
    })

    it("sends a new token before the old one expires", async () => {
      const tokens = ["ada!", "ada"]
      const ada = open(driver, () => tokens.shift()!)
      const { log } = ada.subscribe("room:lobby")
      await member("room:lobby", log)
      await until(() => tokens.length === 0, "a request for a token")
      assert.strictEqual(await ada.rpc("who", null), "ada")
      assert.deepStrictEqual(log.filter((entry) => entry === "resumed"), [])
    })

    it("tells why the server rejects a subscription or a publication", async () => {
      const ada = open(driver)
      const denied = ada.subscribe("room:private")
      await has(denied.log, "ended 103")
      await member("brief:private", ada.subscribe("brief:private", "key").log)
      assert.strictEqual(await rejectedWith(ada.publish("room:lobby", "forbidden")), 103)
      assert.strictEqual(await rejectedWith(ada.members("room:lobby")), 103)
    })

    it("ends a subscription when the server does, and subscribes again if it may", async () => {
      const ada = open(driver)
      const { log } = ada.subscribe("room:lobby")
      await member("room:lobby", log)
      const [client] = serving.clients
      await Effect.runPromise(client.unsubscribe("room:lobby", 2500))
      await has(log, "resumed")
      await Effect.runPromise(client.unsubscribe("room:lobby"))
      await has(log, "ended 2000")
      assert.deepStrictEqual(await serving.run(Topics.members(Room, lobby)), [])
    })

    it("reconnects after a code that lets it, and not after one that does not", async () => {
      const ada = open(driver)
      const { log } = ada.subscribe("room:lobby")
      await member("room:lobby", log)
      await Effect.runPromise(serving.clients[0].disconnect({ code: 4000, reason: "again" } as never))
      await has(log, "resumed")
      await Effect.runPromise(serving.clients.at(-1)!.disconnect())
      await until(() => ada.ended() !== undefined, "an end")
      assert.strictEqual(ada.ended(), 3503)
    })

    it("loses and doubles nothing while its connections are cut", async () => {
      const ada = open(driver)
      const { log } = ada.subscribe("room:lobby")
      await member("room:lobby", log)
      for (let i = 0; i < 60; i++) {
        await serving.run(Topics.publish(Room, lobby, i))
        if (i % 12 === 5) await serving.cut()
        if (i % 12 === 11) await until(() => serving.connections.size > 0, "a connection")
        await new Promise((resolve) => setTimeout(resolve, 2))
      }
      await has(log, "message 59")
      assert.deepStrictEqual(messages(log), Array.from({ length: 60 }, (_, i) => `message ${i}`))
      assert.isAbove(log.filter((entry) => entry === "resumed").length, 0)
      assert.notInclude(log, "gap")
    })

    it("tells a gap when more was lost than the history has", async () => {
      const ada = open(driver)
      const { log } = ada.subscribe("brief:lobby")
      await member("brief:lobby", log)
      await ada.publish("brief:lobby", "before")
      await has(log, `message "before"`)
      const { Brief } = await import("../support/topicDrivers.ts")
      await serving.cut()
      for (let i = 0; i < 4; i++) await serving.run(Topics.publish(Brief, lobby, i))
      await has(log, "gap")
      await serving.run(Topics.publish(Brief, lobby, "after"))
      await has(log, `message "after"`)
      assert.notInclude(log, "message 1")
    })
  })
}

it("members and subscriptions end with each connection", async () => {
  for (const driver of drivers) {
    const client = open(driver)
    await member("room:lobby", client.subscribe("room:lobby").log)
  }
  assert.lengthOf(await serving.run(Topics.members(Room, lobby)), 3)
  for (const client of opened.splice(0)) await client.close()
  await until(() => serving.connections.size === 0, "no connections")
  assert.deepStrictEqual(await serving.run(Topics.members(Room, lobby)), [])
})
