using System.Text.Json.Nodes;
using System.Text.Json.Serialization;

namespace Ldr.App.Jobs;

/// <summary>How far a job has come.</summary>
internal enum JobState
{
    [JsonStringEnumMemberName("queued")]
    Queued,

    [JsonStringEnumMemberName("running")]
    Running,

    [JsonStringEnumMemberName("done")]
    Done,

    [JsonStringEnumMemberName("failed")]
    Failed,

    [JsonStringEnumMemberName("cancelled")]
    Cancelled,
}

/// <summary>A scan of a job, as the page names it.</summary>
/// <param name="Id">Its file.</param>
/// <param name="Name">The file's name.</param>
internal sealed record JobFile(string Id, string Name);

/// <summary>A job as the API tells of it. A new one replaces it at every change.</summary>
internal sealed record Job
{
    /// <summary>By which the API knows it.</summary>
    public required string Id { get; init; }

    /// <summary>From 1, in the order of the list.</summary>
    public required int Number { get; init; }

    /// <summary>How far it has come.</summary>
    public JobState State { get; init; }

    /// <summary>What it does now, in words.</summary>
    public string? Stage { get; init; }

    /// <summary>Since when the stage, milliseconds from the job's start.</summary>
    public double StageStarted { get; init; }

    /// <summary>When it was posted.</summary>
    public DateTimeOffset Posted { get; init; }

    /// <summary>From its start to its picture, milliseconds.</summary>
    public double? Milliseconds { get; init; }

    /// <summary>The fixed scan.</summary>
    public required JobFile Fixed { get; init; }

    /// <summary>The moving scan.</summary>
    public required JobFile Moving { get; init; }

    /// <summary>The model that was used: its name, or <c>none</c>; null until it is chosen.</summary>
    public string? Model { get; init; }

    /// <summary>Why it failed, in a line.</summary>
    public string? Error { get; init; }

    /// <summary>The keys of <c>ldr-fs register --json</c>.</summary>
    public JsonObject? Result { get; init; }

    /// <summary>The same job on the command line.</summary>
    public string? Command { get; init; }

    /// <summary>What can be downloaded; a name's ending may be exchanged for another of its list.</summary>
    public IReadOnlyList<Download> Downloads { get; init; } = [];

    /// <summary>Layers that the page can show: <c>moved</c>, <c>jacobian</c>, <c>grid</c>, <c>labels</c>, <c>fixed_labels</c>; the first one comes before the job is done.</summary>
    public IReadOnlyList<string> Layers { get; init; } = [];

    /// <summary>What was asked for.</summary>
    public required JobRequest Request { get; init; }

    /// <summary>Whether nothing more happens to it.</summary>
    [JsonIgnore]
    public bool IsOver => State is JobState.Done or JobState.Failed or JobState.Cancelled;
}

/// <summary>Something to download.</summary>
/// <param name="Title">For people.</param>
/// <param name="Name">Without its ending.</param>
/// <param name="Endings">The formats.</param>
internal sealed record Download(string Title, string Name, IReadOnlyList<string> Endings);
