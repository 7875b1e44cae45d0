/** Systems that are measured in turn, round by round: a machine that changes its pace does so for all. */
export const measureInTurn = async <System extends string, Row>(
  about: string,
  systems: ReadonlyArray<System>,
  rounds: number,
  progress: (text: string) => void,
  measure: (system: System) => Promise<Row>
): Promise<ReadonlyMap<System, ReadonlyArray<Row>>> => {
  const measured = new Map(systems.map((system) => [system, new Array<Row>()]))
  for (let round = 1; round <= rounds; round++) {
    for (const [system, rows] of measured) {
      progress(`${about}, round ${round} of ${rounds}: ${system}`)
      rows.push(await measure(system))
    }
  }
  return measured
}
