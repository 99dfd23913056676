namespace Ldr

/// The reconstruction loss as an experiment says it: the measure of similarity, whose loss has weight 1, and the weights of all
/// else.
type LossWeights =
    {
        Similarity: SimilarityMeasure
        /// On each deformable stage's own field, see `Regularity.smoothness`.
        Smoothness: float
        /// On the same fields, see `Regularity.bending`; 0: it is not worked out.
        Bending: float
        /// On the total field, see `Regularity.logJacobian`; 0: it is not worked out.
        LogJacobian: float
        /// See `Loss.inverseConsistency`; 0: the pair turned round is not looked at.
        InverseConsistency: float
        /// On the affine stage, see `Regularity.determinant` and `Regularity.orthogonality`.
        Determinant: float
        Orthogonality: float
        /// Of 1 − the soft Dice overlap of the training labels, see `Similarity.dice`; 0: labels are not looked at.
        Dice: float
        /// Of the squared difference of how deep voxels lie in the training labels, see `Similarity.depthDifference`; 0: it is
        /// not worked out. Unlike Dice, it rises when a structure is mapped into its middle.
        LabelDistance: float
    }

module LossWeights =
    /// What the released code has.
    let standard =
        {
            Similarity = Correlation
            Smoothness = 1.0
            Bending = 0.0
            LogJacobian = 0.0
            InverseConsistency = 0.0
            Determinant = 0.1
            Orthogonality = 0.1
            Dice = 0.0
            LabelDistance = 0.0
        }

    let codec: Codec<LossWeights> =
        codec {
            let! similarity =
                optional "similarity" SimilarityMeasure.codec standard.Similarity _.Similarity

            and! smoothness =
                optional "smoothness" Codec.notNegative standard.Smoothness _.Smoothness

            and! bending = optional "bending" Codec.notNegative standard.Bending _.Bending

            and! logJacobian =
                optional "log_jacobian" Codec.notNegative standard.LogJacobian _.LogJacobian

            and! inverseConsistency =
                added "inverse_consistency" Codec.notNegative standard.InverseConsistency _.InverseConsistency

            and! determinant =
                optional "determinant" Codec.notNegative standard.Determinant _.Determinant

            and! orthogonality =
                optional "orthogonality" Codec.notNegative standard.Orthogonality _.Orthogonality

            and! dice = optional "dice" Codec.notNegative standard.Dice _.Dice

            and! labelDistance =
                optional "label_distance" Codec.notNegative standard.LabelDistance _.LabelDistance

            return
                {
                    Similarity = similarity
                    Smoothness = smoothness
                    Bending = bending
                    LogJacobian = logJacobian
                    InverseConsistency = inverseConsistency
                    Determinant = determinant
                    Orthogonality = orthogonality
                    Dice = dice
                    LabelDistance = labelDistance
                }
        }

    /// A term with a weight that is not worked out where the weight is 0.
    let private counted weight loss =
        if weight > 0.0 then
            loss |> Loss.times weight
        else
            Loss.none

    /// What is asked of images and labels.
    let reconstruction (weights: LossWeights) : Loss =
        Loss.sum
            [
                Loss.similarity weights.Similarity
                Loss.dice |> counted weights.Dice
                Loss.labelDistance |> counted weights.LabelDistance
            ]

    /// What keeps transforms plausible.
    let regularity (weights: LossWeights) : Loss =
        Loss.sum
            [
                Loss.smoothness |> Loss.times weights.Smoothness
                Loss.bending |> counted weights.Bending
                Loss.logJacobian |> counted weights.LogJacobian
                Loss.inverseConsistency |> counted weights.InverseConsistency
                Loss.determinant |> Loss.times weights.Determinant
                Loss.orthogonality |> Loss.times weights.Orthogonality
            ]
