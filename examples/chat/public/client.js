/** The page's side of the chat: a WebSocket that comes back by itself, and what is seen of it. */

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

// As the server has it: up to 24 letters, marks, digits, signs and spaces.
const namePattern = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]{1,24}$/u

const me = { id: undefined, name: sessionStorage.getItem("name") ?? randomName() }

const showName = () => {
  sessionStorage.setItem("name", me.name)
  $("name").value = me.name
}

$("name").addEventListener("input", ({ target }) => {
  target.setCustomValidity(
    namePattern.test(target.value.trim()) ? "" : "Up to 24 letters, digits, signs and spaces, please"
  )
})

$("name").addEventListener("change", ({ target }) => {
  const name = target.value.trim()
  if (!namePattern.test(name)) return
  if (name !== me.name) {
    me.name = name
    send({ _tag: "Rename", name })
  }
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

// -- The connection ----------------------------------------------------------

const closeCodes = {
  1000: "Normal Closure",
  1001: "Going Away",
  1002: "Protocol Error",
  1003: "Unsupported Data",
  1005: "No Status Received",
  1006: "Abnormal Closure",
  1007: "Invalid Payload Data",
  1008: "Policy Violation",
  1009: "Message Too Big",
  1011: "Internal Error",
  1012: "Service Restart",
  1013: "Try Again Later"
}

let socket
let wanted = true
let attempts = 0
let retryTimer
/** How the last connection that was open ended. */
let lastClose

const meaningOf = ({ code, reason }) => reason === "" ? closeCodes[code] ?? "" : `“${reason}”`

const showState = (state, word, { code = "", detail, button }) => {
  $("state").dataset.state = state
  $("state-word").textContent = word
  $("state-code").textContent = code
  $("state-detail").textContent = detail
  $("state-detail").title = detail
  $("toggle").textContent = button
  $("toggle").disabled = state === "closing"
  $("send").disabled = state !== "open"
  $("flood").disabled = state !== "open"
}

const connect = () => {
  stopWaiting()
  attempts++
  const url = new URL("chat", location.href)
  url.protocol = url.protocol.replace("http", "ws")
  const shown = url.href
  url.searchParams.set("name", me.name)
  showState("connecting", "Connecting", { detail: attempts > 1 ? `attempt ${attempts}` : shown, button: "Cancel" })

  let opened = false
  socket = new WebSocket(url)
  socket.addEventListener("open", () => {
    opened = true
    lastClose = undefined
    showState("open", "Open", { detail: shown, button: "Disconnect" })
  })
  socket.addEventListener("message", ({ data }) => {
    const event = JSON.parse(data)
    receive[event._tag]?.(event)
  })
  socket.addEventListener("close", (event) => {
    if (opened) note(`Closed with ${event.code} ${meaningOf(event)}`, "break")
    setPeople([])
    $("rtt").textContent = $("rate").textContent = ""
    if (opened) lastClose = event
    const { code } = lastClose ?? event
    const meaning = meaningOf(lastClose ?? event)
    if (wanted) waitToRetry(code, meaning)
    else showState("closed", "Closed", { code, detail: meaning, button: "Connect" })
  })
}

const send = (request) => {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(request))
}

/** Waits twice as long each time, up to 15 seconds, and never quite as long as others do. */
const waitToRetry = (code, meaning) => {
  const millis = Math.min(15_000, 1000 * 2 ** attempts) * (0.8 + Math.random() * 0.4)
  const until = performance.now() + millis
  showState("lost", "Closed", { code, detail: `${meaning} · reconnecting in`, button: "Try now" })
  const tick = () => {
    const left = until - performance.now()
    if (left <= 0) return connect()
    $("countdown").textContent = `${Math.ceil(left / 1000)} s`
    $("wait-bar").style.transform = `scaleX(${left / millis})`
  }
  retryTimer = setInterval(tick, 100)
  tick()
}

const stopWaiting = () => {
  clearInterval(retryTimer)
  retryTimer = undefined
  $("countdown").textContent = ""
  $("wait-bar").style.transform = "scaleX(0)"
}

$("toggle").addEventListener("click", () => {
  if (retryTimer !== undefined) return connect()
  wanted = socket.readyState === WebSocket.CLOSED
  if (wanted) {
    attempts = 0
    connect()
  } else {
    showState("closing", "Closing", { detail: "waiting for the server’s close frame", button: "Disconnect" })
    socket.close(1000, "see you")
  }
})

addEventListener("online", () => {
  if (retryTimer !== undefined) connect()
})

// -- What the server says ----------------------------------------------------

let lastSaid

const receive = {
  Welcome: ({ people, you }) => {
    me.id = you.id
    lastSaid = undefined
    attempts = 0
    setPeople(people)
    // Changed while there was nobody to tell.
    if (you.name !== me.name) send({ _tag: "Rename", name: me.name })
  },
  Joined: ({ people, person }) => {
    setPeople(people)
    note(person.id === me.id ? `You are in, as ${person.name}` : `${person.name} joined`)
  },
  Left: ({ people, person }) => {
    setPeople(people)
    note(`${person.name} left`)
  },
  Renamed: ({ before, people, person }) => {
    setPeople(people)
    note(person.id === me.id ? `You are ${person.name} now` : `${before} is ${person.name} now`)
  },
  Said: ({ n, person, text }) => {
    const skipped = lastSaid === undefined ? 0 : n - lastSaid - 1
    if (skipped > 0) note(`${number.format(skipped)} messages skipped: this page reads too slowly`)
    lastSaid = n
    line({ person, text })
    if (person.id === me.id) floodReturned(text)
  },
  Pulse: ({ people, rate, total }) => {
    setPeople(people)
    rates.push(rate)
    $("rate").textContent = number.format(rate)
    $("rate-foot").textContent = `peak ${number.format(Math.max(...rates.values))} · ${number.format(total)} in all`
    drawBars($("rate-chart"), rates.values)
  },
  RoundTrip: ({ millis }) => {
    roundTrips.push(millis)
    const sorted = roundTrips.values.toSorted((a, b) => a - b)
    $("rtt").textContent = formatMillis(millis)
    $("rtt-foot").textContent = `median ${formatMillis(sorted[sorted.length >> 1])} · worst ${
      formatMillis(sorted.at(-1))
    }`
    drawLine($("rtt-chart"), roundTrips.values)
  },
  Refused: ({ problem }) => note(`Not understood: ${problem}`, "bad")
}

// -- People ------------------------------------------------------------------

// Steps of the golden angle around the circle of hues: neighbours differ as much as they can.
const paint = (node, { id }) => {
  node.style.setProperty("--hue", (id * 137.508) % 360)
  return node
}

const face = (person) => {
  const letters = person.name.split(" ").filter((word) => word !== "").slice(0, 2).map((word) => [...word][0])
  const made = element("span", "face", letters.join("").toUpperCase())
  made.ariaHidden = "true"
  return paint(made, person)
}

const nameOf = (person) => {
  const made = element("bdi", "name", person.name)
  made.title = person.name
  return paint(made, person)
}

let shownPeople = ""

const setPeople = (people) => {
  // Each pulse brings the list; most bring the same.
  const key = JSON.stringify([me.id, people])
  if (key === shownPeople) return
  shownPeople = key
  $("count").textContent = people.length === 0 ? "" : number.format(people.length)
  $("people").replaceChildren(...people.map((person) => {
    const item = element("li", "", face(person), nameOf(person))
    if (person.id === me.id) item.append(element("span", "tag", "you"))
    return item
  }))
}

// -- The log -----------------------------------------------------------------

const log = $("log")
let pending = []
let framed = false
let lastSpeaker
let unseen = 0
let quietTimer

const line = (entry) => push({ ...entry, time: new Date() })
const note = (what, kind = "") => push({ what, kind })

/** What comes is shown once a frame, and of what comes between two frames only what will be kept. */
const push = (entry) => {
  pending.push(entry)
  if (pending.length > 2 * keptLines) pending = pending.slice(-keptLines)
  if (document.hidden && entry.text !== undefined) {
    unseen++
    document.title = `(${unseen}) effect-ws chat`
  }
  if (framed) return
  framed = true
  requestAnimationFrame(flush)
}

const flush = () => {
  framed = false
  const entries = pending.slice(-keptLines)
  pending = []
  // A flood is not read out; when it is over, what comes is.
  if (entries.length > 10) {
    log.ariaLive = "off"
    clearTimeout(quietTimer)
    quietTimer = setTimeout(() => {
      log.ariaLive = "polite"
    }, 2000)
  }
  const atEnd = isAtEnd()
  if (entries.some(({ text }) => text !== undefined)) $("empty")?.remove()
  log.append(...entries.map(toItem))
  while (log.childElementCount > keptLines) log.firstElementChild.remove()
  if (atEnd) log.scrollTop = log.scrollHeight
  else $("newest").hidden = false
}

const toItem = (entry) => {
  if (entry.text === undefined) {
    lastSpeaker = undefined
    return element("div", `note ${entry.kind}`, element("span", "what", entry.what))
  }
  const { person, text, time } = entry
  const speaker = `${person.id} ${person.name} ${clock.format(time)}`
  const said = element("p", "text", text)
  said.dir = "auto"
  if (speaker === lastSpeaker) {
    const by = element("span", "unseen", `${person.name}: `)
    return element("div", "said", by, said)
  }
  lastSpeaker = speaker
  const when = element("time", "", clock.format(time))
  when.dateTime = time.toISOString()
  return element("div", "said first", face(person), element("div", "by", nameOf(person), when), said)
}

const isAtEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 40

log.addEventListener("scroll", () => {
  if (isAtEnd()) $("newest").hidden = true
})

$("newest").addEventListener("click", () => {
  log.scrollTop = log.scrollHeight
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
  if (text === "" || socket.readyState !== WebSocket.OPEN) return
  send({ _tag: "Say", text })
  $("text").value = ""
  log.scrollTop = log.scrollHeight
})

let floodStarted
const floodText = (i) => `flood ${number.format(i)} of ${number.format(floodSize)}`

$("flood").addEventListener("click", () => {
  floodStarted = performance.now()
  for (let i = 1; i <= floodSize; i++) send({ _tag: "Say", text: floodText(i) })
  $("flood-result").textContent = "on their way"
})

const floodReturned = (text) => {
  if (floodStarted === undefined || text !== floodText(floodSize)) return
  $("flood-result").textContent = `back in ${number.format(Math.round(performance.now() - floodStarted))} ms`
  floodStarted = undefined
}

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
connect()
