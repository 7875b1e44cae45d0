/** The page of the chat: what a person sees and does. The build bundles it with `visitor.ts`, which has the connection. */
import { isName, start } from "./visitor.ts"

const keptLines = 200
const keptSamples = 60
const floodSize = 1000

const $ = (id) => document.getElementById(id)
const number = new Intl.NumberFormat("en")
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" })

const element = (name, className, ...children) => {
  const made = document.createElement(name)
  made.className = className
  // Strings become text nodes: nothing that people write is ever read as HTML.
  made.append(...children)
  return made
}

// -- Who I am ----------------------------------------------------------------

const pick = (list) => list[Math.floor(Math.random() * list.length)]

const randomName = () => {
  const first = ["Amber", "Brisk", "Calm", "Clever", "Gentle", "Jolly", "Lucky", "Mellow", "Quiet", "Sunny", "Swift"]
  const second = ["Badger", "Crane", "Dolphin", "Finch", "Fox", "Heron", "Lynx", "Otter", "Owl", "Panda", "Wren"]
  return `${pick(first)} ${pick(second)}`
}

let myName = sessionStorage.getItem("name") ?? randomName()

/** The names that the visitor has had. The server learns late that a former one is gone. */
const myNames = new Set()

const showName = () => {
  myNames.add(myName)
  sessionStorage.setItem("name", myName)
  $("name").value = myName
}

$("name").addEventListener("input", ({ target }) => {
  target.setCustomValidity(isName(target.value.trim()) ? "" : "Up to 24 letters, digits, signs and spaces, please")
})

$("name").addEventListener("change", ({ target }) => {
  const name = target.value.trim()
  if (!isName(name)) return
  if (name !== myName) visitor.rename(name)
  myName = name
  showName()
})

$("name").addEventListener("blur", ({ target }) => {
  target.setCustomValidity("")
  showName()
})

$("name-form").addEventListener("submit", (event) => {
  event.preventDefault()
  $("text").focus()
})

// -- The room ----------------------------------------------------------------

/** The room is the part of the address behind #, so that a link leads to it. */
const roomOfAddress = () => {
  try {
    const name = decodeURIComponent(location.hash.slice(1)).trim()
    return isName(name) ? name : "lobby"
  } catch {
    return "lobby"
  }
}

const showRoom = (room) => {
  const links = [...$("rooms").children]
  const known = links.find(({ hash }) => decodeURIComponent(hash.slice(1)) === room)
  const link = known ?? element("a", "", room)
  if (known === undefined) {
    link.href = `#${encodeURIComponent(room)}`
    $("rooms").append(link)
  }
  for (const other of links) other.removeAttribute("aria-current")
  link.setAttribute("aria-current", "page")
  link.scrollIntoView({ block: "nearest", inline: "nearest" })
  $("text").placeholder = `Say something in ${link.textContent}`
}

const enter = () => visitor.enter(roomOfAddress())

addEventListener("hashchange", enter)

// At once: some browsers follow a link only after the next key is pressed.
$("rooms").addEventListener("click", (event) => {
  const link = event.target.closest("a")
  if (link === null || event.ctrlKey || event.metaKey || event.shiftKey) return
  event.preventDefault()
  history.pushState(undefined, "", link.hash)
  enter()
})

// -- The connection ----------------------------------------------------------

let retryTimer
let isConnected = true

const showState = (state, word, button, detail = "") => {
  stopCounting()
  $("state").dataset.state = state
  $("state-word").textContent = word
  $("state-detail").textContent = detail
  $("toggle").textContent = button
  $("flood").disabled = state !== "open"
  isConnected = state !== "closed"
  if (state !== "open") $("rtt").textContent = ""
}

/** Counts the seconds until the next attempt. */
const countDown = (millis) => {
  const until = performance.now() + millis
  const tick = () => {
    const left = Math.max(0, until - performance.now())
    $("countdown").textContent = `${Math.ceil(left / 1000)} s`
    $("wait-bar").style.transform = `scaleX(${left / millis})`
  }
  retryTimer = setInterval(tick, 100)
  tick()
}

const stopCounting = () => {
  clearInterval(retryTimer)
  $("countdown").textContent = ""
  $("wait-bar").style.transform = "scaleX(0)"
}

$("toggle").addEventListener("click", () => {
  if (isConnected && $("state").dataset.state !== "lost") visitor.disconnect()
  else visitor.connect()
})

// -- What there is to show ---------------------------------------------------

/** The name under which the visitor was last in the room. */
let nameInRoom

const show = {
  Connecting: () => showState("connecting", "Connecting", "Disconnect"),
  Open: () => showState("open", "Connected", "Disconnect"),
  Waiting: ({ millis, since }) => {
    if (since === "now") note("Connection lost", "break")
    showState("lost", since === "ever" ? "No connection" : "Connection lost", "Try now", "trying again in")
    countDown(millis)
    setPeople([])
  },
  Closed: ({ isRefused }) =>
    showState("closed", "Disconnected", "Connect", isRefused ? "the server does not let you in" : ""),
  Entered: ({ room }) => {
    nameInRoom = undefined
    lastSpeaker = undefined
    pending = []
    log.replaceChildren()
    $("empty").hidden = false
    $("newest").hidden = true
    $("total").textContent = "0"
    showRoom(room)
  },
  Following: ({ isBack, name }) => {
    if (isBack) note("Connected again", "break")
    else if (nameInRoom === undefined) note(`You are in, as ${name}`)
    else if (nameInRoom !== name) note(`You are ${name} now`)
    nameInRoom = name
  },
  People: ({ names }) => setPeople(names),
  Came: ({ name }) => {
    if (!myNames.has(name)) note(`${name} joined`)
  },
  Went: ({ name }) => {
    if (!myNames.has(name)) note(`${name} left`)
  },
  Said: ({ n, said }) => {
    heard++
    $("total").textContent = number.format(n)
    push({ ...said, time: new Date(said.at) })
  },
  Missed: ({ count }) =>
    note(
      count === undefined
        ? "The server started anew: it no longer has what is above"
        : `${number.format(count)} ${count === 1 ? "message is" : "messages are"} missing here`,
      "break"
    ),
  Unsent: ({ texts }) => {
    $("unsent").replaceChildren(...texts.map((text) => {
      const item = element("p", "text", text)
      item.dir = "auto"
      return item
    }))
    if (texts.length > 0) scrollToEnd()
  },
  NotSent: ({ text }) => note(`Not sent: ${text}`, "bad"),
  RoundTrip: ({ millis }) => {
    roundTrips.push(millis)
    const sorted = roundTrips.values.toSorted((a, b) => a - b)
    $("rtt").textContent = formatMillis(millis)
    $("rtt-foot").textContent = `median ${formatMillis(sorted[sorted.length >> 1])} · worst ${
      formatMillis(sorted.at(-1))
    }`
    drawLine($("rtt-chart"), roundTrips.values)
  },
  Flooded: ({ millis, sent }) => {
    $("flood").disabled = $("state").dataset.state !== "open"
    $("flood-result").textContent = sent === floodSize
      ? `all confirmed in ${number.format(Math.round(millis))} ms`
      : `${number.format(sent)} sent; the server asks for a pause`
  }
}

// -- The numbers -------------------------------------------------------------

let heard = 0

setInterval(() => {
  rates.push(heard)
  $("rate").textContent = number.format(heard)
  $("rate-peak").textContent = number.format(Math.max(...rates.values))
  drawBars($("rate-chart"), rates.values)
  heard = 0
}, 1000)

// -- People ------------------------------------------------------------------

/** The hue of a name is the same on each page and after each restart: FNV-1a, around the circle. */
const hueOf = (name) => {
  let hash = 0x811c9dc5
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193)
  return (hash >>> 0) % 360
}

const paint = (node, name) => {
  node.style.setProperty("--hue", hueOf(name))
  return node
}

const face = (name) => {
  const letters = name.split(" ").filter((word) => word !== "").slice(0, 2).map((word) => [...word][0])
  const made = element("span", "face", letters.join("").toUpperCase())
  made.ariaHidden = "true"
  return paint(made, name)
}

const nameOf = (name) => {
  const made = element("bdi", "name", name)
  made.title = name
  return paint(made, name)
}

const setPeople = (names) => {
  $("count").textContent = names.length === 0 ? "" : number.format(names.length)
  $("people").replaceChildren(...names.map((name) => {
    const item = element("li", "", face(name), nameOf(name))
    if (name === myName) item.append(element("span", "tag", "you"))
    return item
  }))
}

// -- The log -----------------------------------------------------------------

const log = $("log")
let pending = []
let isFramed = false
let lastSpeaker
let unseen = 0
let quietTimer

const note = (what, kind = "") => push({ what, kind })

/** Entries are shown once a frame, and of those between two frames only as many as are kept. */
const push = (entry) => {
  pending.push(entry)
  if (pending.length > 2 * keptLines) pending = pending.slice(-keptLines)
  if (document.hidden && entry.text !== undefined) {
    unseen++
    document.title = `(${unseen}) effect-ws chat`
  }
  if (isFramed) return
  isFramed = true
  requestAnimationFrame(flush)
}

const flush = () => {
  isFramed = false
  const entries = pending.slice(-keptLines)
  pending = []
  // A flood is not read out; the messages after it are.
  if (entries.length > 10) {
    log.ariaLive = "off"
    clearTimeout(quietTimer)
    quietTimer = setTimeout(() => {
      log.ariaLive = "polite"
    }, 2000)
  }
  if (entries.some(({ text }) => text !== undefined)) $("empty").hidden = true
  log.append(...entries.map(toItem))
  while (log.childElementCount > keptLines) log.firstElementChild.remove()
  if (readsNewest) scrollToEnd()
  else $("newest").hidden = false
}

const toItem = (entry) => {
  if (entry.text === undefined) {
    lastSpeaker = undefined
    return element("div", `note ${entry.kind}`, element("span", "what", entry.what))
  }
  const { by, text, time } = entry
  const speaker = `${by} ${clock.format(time)}`
  const said = element("p", "text", text)
  said.dir = "auto"
  if (speaker === lastSpeaker) return element("div", "said", element("span", "unseen", `${by}: `), said)
  lastSpeaker = speaker
  const when = element("time", "", clock.format(time))
  when.dateTime = time.toISOString()
  return element("div", "said first", face(by), element("div", "by", nameOf(by), when), said)
}

const scroller = $("scroller")

/** Whether the reader is at the newest message. Only the reader changes that: a new size of the talk does not. */
let readsNewest = true
let lastSize = ""

const sizeOfTalk = () => `${scroller.scrollHeight} ${scroller.clientHeight} ${scroller.clientWidth}`

const scrollToEnd = () => {
  readsNewest = true
  scroller.scrollTop = scroller.scrollHeight
  $("newest").hidden = true
}

scroller.addEventListener("scroll", () => {
  if (sizeOfTalk() !== lastSize) return
  readsNewest = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 40
  if (readsNewest) $("newest").hidden = true
})

$("newest").addEventListener("click", () => {
  scrollToEnd()
  $("text").focus()
})

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return
  unseen = 0
  document.title = "effect-ws chat"
})

// -- Saying something --------------------------------------------------------

$("say").addEventListener("submit", (event) => {
  event.preventDefault()
  const text = $("text").value.trim()
  if (text === "") return
  visitor.say(text)
  $("text").value = ""
  scrollToEnd()
})

$("flood").addEventListener("click", () => {
  $("flood").disabled = true
  $("flood-result").textContent = "on their way"
  visitor.flood(
    Array.from({ length: floodSize }, (_, i) => `flood ${number.format(i + 1)} of ${number.format(floodSize)}`)
  )
})

// -- The size ----------------------------------------------------------------

/** Some keyboards cover the page, and leave its size as it was. */
visualViewport.addEventListener("resize", () => {
  if (visualViewport.scale !== 1) return
  document.body.style.height = `${visualViewport.height}px`
  scrollTo(0, 0)
})

/** A reader of the newest message still sees it when a keyboard leaves less room. */
const sizes = new ResizeObserver(() => {
  lastSize = sizeOfTalk()
  if (readsNewest) scrollToEnd()
})
for (const observed of [scroller, log, $("unsent")]) sizes.observe(observed)

// -- Charts ------------------------------------------------------------------

const width = 240
const height = 56

const series = () => {
  const values = []
  return {
    values,
    push: (value) => {
      values.push(value)
      if (values.length > keptSamples) values.shift()
    }
  }
}

const roundTrips = series()
const rates = series()

const formatMillis = (millis) => millis < 10 ? millis.toFixed(2) : number.format(Math.round(millis))

/** The newest value is at the right edge; the scale leaves some air above the largest. */
const place = (values, max) => {
  const step = width / (keptSamples - 1)
  return values.map((value, i) => [
    width - (values.length - 1 - i) * step,
    height - 1 - (value / max) * (height - 6)
  ])
}

const drawLine = (svg, values) => {
  const points = place(values, Math.max(0.5, ...values))
  const path = `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}`
  const [endX, endY] = points.at(-1)
  svg.querySelector(".stroke").setAttribute("d", path)
  svg.querySelector(".area").setAttribute("d", `${path}V${height}H${points[0][0].toFixed(1)}Z`)
  svg.querySelector(".tip").setAttribute("d", `M${endX.toFixed(1)} ${endY.toFixed(1)}h0`)
  svg.dataset.points = values.length
  svg.ariaLabel = `Round trips of the last minute, now ${formatMillis(values.at(-1))} milliseconds`
}

const drawBars = (svg, values) => {
  const bar = width / keptSamples - 1
  const path = values.map((value, i) => {
    if (value === 0) return ""
    const x = width - (values.length - i) * (bar + 1)
    const tall = Math.max(2, (value / Math.max(...values)) * (height - 6))
    return `M${x.toFixed(1)} ${height}v${-tall.toFixed(1)}h${bar.toFixed(1)}V${height}Z`
  })
  svg.querySelector(".area").setAttribute("d", path.join(""))
  svg.dataset.points = values.length
  svg.ariaLabel = `Messages per second in the last minute, now ${values.at(-1)}, at most ${Math.max(...values)}`
}

showName()
showRoom(roomOfAddress())
const visitor = start({ name: myName, room: roomOfAddress() }, (view) => show[view._tag](view))
