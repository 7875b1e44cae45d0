/** Everything that is fuzzed. A new target is one more line here. */
import { frameDecoder, wholeConnection } from "./bytes.ts"
import { compressedConnection } from "./deflate.ts"
import { differential } from "./differential.ts"
import type { Target } from "./engine.ts"
import { clientResponse, extensionHeader, upgradeRequest } from "./headers.ts"
import { responseOverHttp, upgradeOverHttp } from "./http.ts"
import { connectionModel } from "./model.ts"
import { resume } from "./resume.ts"
import { topicsModel } from "./topics.ts"
import { topicCodec, topicSession } from "./topicSession.ts"

export const targets: ReadonlyArray<Target> = [
  frameDecoder,
  extensionHeader,
  upgradeRequest,
  upgradeOverHttp,
  clientResponse,
  responseOverHttp,
  wholeConnection,
  compressedConnection,
  connectionModel,
  resume,
  topicsModel,
  topicCodec,
  topicSession,
  differential
]
