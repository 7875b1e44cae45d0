/**
 * A visitor of the chat: the program of the page, without its looks. It follows one room at a time over a `TopicClient`,
 * loses no message that the server still has, and shows none twice:
 *
 * - it reads the history of a room, and subscribes from there; after a lost connection, or under a new name, it resumes
 *   behind the last message that it has shown;
 * - it keeps what the visitor says until the server has confirmed it, and publishes it again with the same key.
 *
 * It imports modules by their paths: a bundle of "effect" and "effect-ws" as a whole holds all of both.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type { Reconnecting, Topic } from "effect-ws"
import * as BrowserClient from "effect-ws/BrowserClient"
import * as TopicClient from "effect-ws/TopicClient"
import * as TopicError from "effect-ws/TopicError"
import { Name, Room, type Said, Text } from "./room.ts"

// -- What the page shows, and what its visitor does ----------------------------

export type View =
  | { readonly _tag: "Connecting" }
  | { readonly _tag: "Open" }
  /** There is no connection: it was open until now, it was lost before, or neither. The next attempt follows after a time. */
  | { readonly _tag: "Waiting"; readonly since: "now" | "before" | "ever"; readonly millis: number }
  /** There are no further attempts: the visitor has disconnected, or the server refuses the visitor. */
  | { readonly _tag: "Closed"; readonly isRefused: boolean }
  /** Another room: what was shown of the last one goes. */
  | { readonly _tag: "Entered"; readonly room: string }
  /** The subscription is confirmed; `isBack` after a lost connection. */
  | { readonly _tag: "Following"; readonly name: string; readonly isBack: boolean }
  /** All who are here, each once. */
  | { readonly _tag: "People"; readonly names: ReadonlyArray<string> }
  | { readonly _tag: "Came"; readonly name: string }
  | { readonly _tag: "Went"; readonly name: string }
  /** A message; `n` is its number in the room. */
  | { readonly _tag: "Said"; readonly said: Said; readonly n: number }
  /** Messages are missing; undefined: the server has started anew, and knows none of those before. */
  | { readonly _tag: "Missed"; readonly count: number | undefined }
  /** What the visitor has said in this room, and the server has not confirmed. */
  | { readonly _tag: "Unsent"; readonly texts: ReadonlyArray<string> }
  | { readonly _tag: "NotSent"; readonly text: string }
  | { readonly _tag: "RoundTrip"; readonly millis: number }
  /** A flood has ended: the server has confirmed `sent` messages. */
  | { readonly _tag: "Flooded"; readonly sent: number; readonly millis: number }

export interface Visitor {
  readonly rename: (name: string) => void
  readonly enter: (room: string) => void
  /** Connects, or tries again at once. */
  readonly connect: () => void
  readonly disconnect: () => void
  readonly say: (text: string) => void
  readonly flood: (texts: ReadonlyArray<string>) => void
}

export const isName = Schema.is(Name)
const isText = Schema.is(Text)

interface Wish {
  readonly name: string
  readonly room: string
  readonly isConnected: boolean
  /** Grows when the visitor tries again at once. */
  readonly attempt: number
}

interface Unsent {
  readonly key: string
  readonly room: string
  readonly text: string
}

/** What a visitor's page keeps over all connections. */
interface Visit {
  readonly show: (view: View) => void
  readonly wish: SubscriptionRef.SubscriptionRef<Wish>
  readonly unsent: SubscriptionRef.SubscriptionRef<ReadonlyArray<Unsent>>
  readonly floods: Queue.Queue<ReadonlyArray<string>>
  /** The room that is shown, and the position of the last message; undefined before the history is read. */
  shown: { readonly room: string; readonly position: Topic.Position | undefined }
  isOpen: boolean
  /** Whether the connection was lost since the room was last followed. */
  wasLost: boolean
}

type Client = Effect.Success<ReturnType<typeof connectAs>>

const connectAs = (name: string) =>
  TopicClient.make(() => BrowserClient.connect("chat"), {
    token: name,
    schedule: Schedule.exponential("1 second").pipe(
      Schedule.modifyDelay(({ duration }) => Effect.succeed(Duration.min(duration, Duration.seconds(15)))),
      Schedule.jittered
    )
  })

// -- The connection --------------------------------------------------------------

const showState = (visit: Visit, state: Reconnecting.State<unknown, unknown>) => {
  const { show } = visit
  switch (state._tag) {
    case "Connecting":
      return show({ _tag: "Connecting" })
    case "Open":
      visit.isOpen = true
      return show({ _tag: "Open" })
    case "Waiting":
      show({
        _tag: "Waiting",
        since: visit.isOpen ? "now" : visit.wasLost ? "before" : "ever",
        millis: Duration.toMillis(state.delay)
      })
      visit.wasLost ||= visit.isOpen
      visit.isOpen = false
      return
    default:
      return
  }
}

/** Measures the time of a call, each second. */
const measure = ({ show }: Visit, client: Client) =>
  Effect.andThen(client.connection.connection, Effect.timed(client.rpc("ping"))).pipe(
    Effect.map(([roundTrip]) => show({ _tag: "RoundTrip", millis: Duration.toMillis(roundTrip) })),
    Effect.ignore,
    Effect.repeat(Schedule.spaced("1 second"))
  )

/** A failure that the next try may not meet. */
const isPassing = (error: { readonly _tag: string }): boolean =>
  error._tag === "Unanswered" || (error instanceof TopicError.Rejected && isTransient(error))

const isTransient = (error: TopicError.Rejected) =>
  TopicError.isTemporary(error) || error.code === TopicError.Code.PublishUnknown

const persist = <A, E extends { readonly _tag: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.retry(effect, { while: isPassing, schedule: Schedule.spaced("1 second") })

// -- What is said ------------------------------------------------------------------

/** Publishes what the visitor says, in order, each message once. */
const sendUnsent = ({ show, unsent }: Visit, client: Client) =>
  Effect.gen(function*() {
    const isWaiting = Stream.filter(SubscriptionRef.changes(unsent), ({ length }) => length > 0)
    yield* Stream.runHead(isWaiting)
    const [next] = yield* SubscriptionRef.get(unsent)
    if (next === undefined) return
    const { key, room, text } = next
    // The server replaces the name and the time.
    const message = { by: "me", text, at: 0 }
    yield* persist(client.publish(Room, { name: room }, message, { idempotencyKey: key })).pipe(
      Effect.catchTag("Rejected", () => Effect.sync(() => show({ _tag: "NotSent", text })))
    )
    yield* SubscriptionRef.update(unsent, (all) => all.filter((other) => other.key !== key))
  }).pipe(Effect.forever)

/** Publishes many messages at once. What the server rejects is not repeated. */
const sendFloods = ({ floods, show, wish }: Visit, client: Client) =>
  Effect.gen(function*() {
    const texts = yield* Queue.take(floods)
    const { room } = yield* SubscriptionRef.get(wish)
    const publish = (text: string) => Effect.option(client.publish(Room, { name: room }, { by: "me", text, at: 0 }))
    const [time, sent] = yield* Effect.timed(Effect.forEach(texts, publish, { concurrency: "unbounded" }))
    show({
      _tag: "Flooded",
      sent: sent.filter(({ _tag }) => _tag === "Some").length,
      millis: Duration.toMillis(time)
    })
  }).pipe(Effect.forever)

// -- The room -----------------------------------------------------------------------

/** Shows another room, of which nothing is known yet. */
const turnTo = (visit: Visit, room: string) =>
  Effect.suspend(() => {
    if (visit.shown.room === room) return Effect.void
    visit.shown = { room, position: undefined }
    visit.show({ _tag: "Entered", room })
    return showUnsent(visit)
  })

/** Shows the history of a room, unless it is shown. Returns the position behind it. */
const readHistory = Effect.fnUntraced(function*(visit: Visit, client: Client, room: string) {
  yield* turnTo(visit, room)
  if (visit.shown.position !== undefined) return visit.shown.position
  const { messages, position } = yield* persist(client.history(Room, { name: room }))
  visit.shown = { room, position }
  for (const message of messages) showMessage(visit, message)
  return position
})

const showMessage = ({ show }: Visit, { message, position }: Topic.Message<Said>) =>
  show({ _tag: "Said", said: message, n: position.offset })

const showUnsent = ({ show, unsent, wish }: Visit) =>
  Effect.gen(function*() {
    const { room } = yield* SubscriptionRef.get(wish)
    const all = yield* SubscriptionRef.get(unsent)
    show({ _tag: "Unsent", texts: all.filter((one) => one.room === room).map(({ text }) => text) })
  })

/** After a gap, the history may have some of its messages. */
const fillGap = Effect.fnUntraced(
  function*(visit: Visit, client: Client, room: string, { from, missed, to }: Topic.Gap) {
    const { messages } = yield* persist(client.history(Room, { name: room }))
    const first = from.epoch === to.epoch ? from.offset : 0
    const found = messages.filter(({ position }) =>
      position.epoch === to.epoch && position.offset > first && position.offset <= to.offset
    )
    const count = missed === undefined ? undefined : missed - found.length
    if (count === undefined ? from.offset > 0 : count > 0) visit.show({ _tag: "Missed", count })
    for (const message of found) showMessage(visit, message)
  }
)

/** The people in a room: a name counts once, however many pages it has open. */
const makePeople = ({ show }: Visit) => {
  const names = new Map<string, string>()
  const isHere = (name: string) => [...names.values()].includes(name)
  const showPeople = () => show({ _tag: "People", names: [...new Set(names.values())] })
  const change = (tag: "Came" | "Went", id: string, name: string) => {
    const wasHere = isHere(name)
    if (tag === "Came") names.set(id, name)
    else names.delete(id)
    if (isHere(name) === wasHere) return
    showPeople()
    show({ _tag: tag, name })
  }
  return {
    reset: (members: ReadonlyArray<Topic.Member<{ readonly name: string }>>) => {
      names.clear()
      for (const { id, member } of members) names.set(id, member.name)
      showPeople()
    },
    change
  }
}

const follow = (visit: Visit, client: Client, name: string, room: string) => {
  const people = makePeople(visit)
  const reach = (position: Topic.Position) => {
    visit.shown = { room, position }
  }
  const onEvent = (event: Topic.Event<Said, { readonly name: string }>) => {
    switch (event._tag) {
      case "Subscribed":
        people.reset(event.members)
        visit.show({ _tag: "Following", name, isBack: visit.wasLost })
        visit.wasLost = false
        return Effect.void
      case "Message":
        showMessage(visit, event)
        return Effect.sync(() => reach(event.position))
      case "Gap":
        return Effect.andThen(fillGap(visit, client, room, event), Effect.sync(() => reach(event.to)))
      case "Joined":
        return Effect.sync(() => people.change("Came", event.id, event.member.name))
      case "Left":
        return Effect.sync(() => people.change("Went", event.id, event.member.name))
    }
  }
  return Effect.flatMap(
    readHistory(visit, client, room),
    (since) => Stream.runForEach(client.subscribe(Room, { name: room }, { since }), onEvent)
  )
}

// -- The visit ------------------------------------------------------------------------

/** Runs an effect for each value; the next value interrupts it. */
const forLatest = <A, E, R, E2, R2>(
  values: Stream.Stream<A, E, R>,
  run: (value: A) => Effect.Effect<unknown, E2, R2>
) => Stream.runDrain(Stream.switchMap(values, (value) => Stream.fromEffectDrain(run(value))))

/** The rooms that the visitor enters, one after the other. */
const rooms = ({ wish }: Visit) => Stream.changes(Stream.map(SubscriptionRef.changes(wish), ({ room }) => room))

/** Visits the rooms under one name, until the server refuses the visitor. */
const visitAs = (visit: Visit, name: string) =>
  Effect.gen(function*() {
    const client = yield* connectAs(name)
    yield* Effect.forkScoped(
      Stream.runForEach(
        SubscriptionRef.changes(client.connection.state),
        (state) => Effect.sync(() => showState(visit, state))
      )
    )
    yield* Effect.forkScoped(measure(visit, client))
    yield* Effect.forkScoped(sendUnsent(visit, client))
    yield* Effect.forkScoped(sendFloods(visit, client))
    yield* forLatest(rooms(visit), (room) => follow(visit, client, name, room))
  }).pipe(
    Effect.scoped,
    Effect.catch((error) => Effect.logDebug(error.message)),
    Effect.andThen(Effect.sync(() => visit.show({ _tag: "Closed", isRefused: true })))
  )

/** Visits no room, but turns to the one that the visitor wishes to see. */
const stayAway = (visit: Visit) =>
  Effect.suspend(() => {
    visit.show({ _tag: "People", names: [] })
    visit.show({ _tag: "Closed", isRefused: false })
    return forLatest(rooms(visit), (room) => turnTo(visit, room))
  })

const run = (visit: Visit) => {
  const wishes = Stream.changesWith(
    SubscriptionRef.changes(visit.wish),
    (one, other) => one.name === other.name && one.isConnected === other.isConnected && one.attempt === other.attempt
  )
  return Effect.all([
    Stream.runForEach(SubscriptionRef.changes(visit.unsent), () => showUnsent(visit)),
    forLatest(wishes, ({ isConnected, name }) => {
      visit.isOpen = false
      return isConnected ? visitAs(visit, name) : stayAway(visit)
    })
  ], { concurrency: "unbounded", discard: true })
}

/** Starts a visit. `show` is called with all that the page shows. */
export const start = (first: Pick<Wish, "name" | "room">, show: (view: View) => void): Visitor => {
  const visit: Visit = {
    show,
    wish: Effect.runSync(SubscriptionRef.make<Wish>({ ...first, isConnected: true, attempt: 0 })),
    unsent: Effect.runSync(SubscriptionRef.make<ReadonlyArray<Unsent>>([])),
    floods: Effect.runSync(Queue.unbounded<ReadonlyArray<string>>()),
    shown: { room: "", position: undefined },
    isOpen: false,
    wasLost: false
  }
  const change = (update: (wish: Wish) => Partial<Wish>) =>
    void Effect.runFork(SubscriptionRef.update(visit.wish, (wish) => ({ ...wish, ...update(wish) })))
  Effect.runFork(run(visit))
  return {
    rename: (name) => change(() => ({ name })),
    enter: (room) => change(() => ({ room })),
    connect: () => change(({ attempt }) => ({ isConnected: true, attempt: attempt + 1 })),
    disconnect: () => change(() => ({ isConnected: false })),
    say: (words) => {
      const text = words.trim()
      if (!isText(text)) return
      const { room } = Effect.runSync(SubscriptionRef.get(visit.wish))
      const one = { key: crypto.randomUUID(), room, text }
      Effect.runFork(SubscriptionRef.update(visit.unsent, (all) => [...all, one]))
    },
    flood: (texts) => void Effect.runFork(Queue.offer(visit.floods, texts))
  }
}
