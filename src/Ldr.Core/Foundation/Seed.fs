namespace Ldr

/// The start of a stream of pseudo-random numbers. Randomness is explicit: a seed is split by purpose, so that two uses
/// never share a stream and a stream does not depend on what ran before.
type Seed = private Seed of uint64

module Seed =
    /// The output function of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
    let private mix (value: uint64) =
        let z = value + 0x9E3779B97F4A7C15UL
        let z = (z ^^^ (z >>> 30)) * 0xBF58476D1CE4E5B9UL
        let z = (z ^^^ (z >>> 27)) * 0x94D049BB133111EBUL
        z ^^^ (z >>> 31)

    /// The seed that a person writes into an experiment.
    let ofInt (value: int) = Seed(mix (uint64 value))

    /// An independent seed for a named purpose.
    let split (purpose: string) (Seed value) =
        let hash =
            (14695981039346656037UL, purpose)
            ||> Seq.fold (fun hash letter -> (hash ^^^ uint64 letter) * 1099511628211UL)

        Seed(mix (value ^^^ hash))

    /// An independent seed for the i-th of many.
    let at (index: int) (Seed value) =
        Seed(mix (value + uint64 index * 0xD1342543DE82EF95UL))

    /// A seed for libraries that take 64 bits.
    let toInt64 (Seed value) = int64 (value >>> 1)

    /// A generator for ordinary numbers. The same seed gives the same numbers on every run of one .NET version line.
    let random (Seed value) =
        System.Random(int (uint32 value &&& 0x7FFFFFFFu))

    /// A whole number in [0, bound), for a stream of its own.
    let next (bound: int) (Seed value) = int (value % uint64 bound)

    /// A whole number in [0, bound) of more than 32 bits, for a stream of its own.
    let nextLong (bound: int64) (Seed value) = int64 (value % uint64 bound)

    /// Different whole numbers in [0, count), in a random order without an end before all are drawn: what `permutation` is for
    /// counts that no memory holds. Memory grows with what is taken.
    let distinct (count: int64) (seed: Seed) : int64 seq =
        seq {
            // Fisher and Yates from the front: what was moved away from its place.
            let moved = System.Collections.Generic.Dictionary<int64, int64>()

            let at place =
                match moved.TryGetValue place with
                | true, value -> value
                | _ -> place

            for i in Seq.initInfinite int64 |> Seq.takeWhile (fun i -> i < count) do
                let own =
                    Seed(mix ((let (Seed value) = seed in value) + uint64 i * 0xD1342543DE82EF95UL))

                let j = i + nextLong (count - i) own
                let drawn = at j
                moved[j] <- at i
                moved.Remove i |> ignore
                drawn
        }

    /// A random order of 0 … count − 1 (Fisher and Yates).
    let permutation (count: int) (seed: Seed) =
        let order = Array.init count id

        for i in count - 1 .. -1 .. 1 do
            let j = seed |> at i |> next (i + 1)
            let held = order[i]
            order[i] <- order[j]
            order[j] <- held

        order
