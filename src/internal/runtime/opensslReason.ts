/** Error messages of OpenSSL, which consist of codes and source positions around one reason. */

/** `<thread>:error:<code>:<library> routines:<function>:<reason>:<file>:<line>:`. The function and what follows the reason may be missing. */
const pattern = /error:[0-9A-F]+:([^:]*?)(?: routines)?:[^:]*:([^:\n]+)/

/** Returns library and reason, such as "SSL: wrong version number"; any other message as it is. */
export const opensslReason = (message: string): string => {
  const [, library, reason] = pattern.exec(message) ?? []
  return reason === undefined ? message : `${library}: ${reason}`
}
