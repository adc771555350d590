// What does not run beside other journeys, where several workers run them (`FSA_WORKERS`).
//
// Whatever else they do, workers share the machine: its cores, its disk, its ports. A journey that waits for a state minds
// none of it. One that says how long something takes does, and so does one that takes so much that another would be late.

/** A journey that measures, or leaves the machine no room: it begins once no other one runs, and none begins meanwhile. */
export const ALONE = { lock: '-exclusive-' };

/** Journeys with an Ingress controller: it is at the ports 80 and 443, which are there once. One after the other. */
export const INGRESS = { lock: 'the ports 80 and 443' };
