namespace Ldr.Runtime.Groups;

/// <summary>A scan of a BIDS folder.</summary>
/// <param name="Name">Person, session and run, as in <c>sub-01_ses-1</c>; unique in the folder.</param>
/// <param name="Participant">The person, as in <c>sub-01</c>.</param>
/// <param name="Session">The session, as in <c>ses-1</c>; null for none.</param>
/// <param name="Scan">The scan's file, with its label map and its brain mask where there are some.</param>
public sealed record BidsScan(string Name, string Participant, string? Session, CohortScan Scan);
